"""Renders and runtimes in a SQL database."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.clock import Clock
from services.chassis.storage import Database, uninterrupted
from services.scheduler.domain.render import Render, RenderEvent, RenderStatus, snapshot
from services.scheduler.domain.runtime import Runtime
from services.scheduler.ports import Change, Page

_renders = sa.table(
    "renders",
    *map(
        sa.column,
        ("id", "account", "slug", "status", "idempotency_key", "epoch", "lease_until", "last_seq", "body"),
    ),
)
_inputs = sa.table("render_inputs", sa.column("render_id"), sa.column("body"))
_events = sa.table("render_events", sa.column("render_id"), sa.column("seq"), sa.column("body"))
_runtimes = sa.table("runtimes", sa.column("id"), sa.column("body"))

_render_json = TypeAdapter(Render)
_event_json = TypeAdapter(RenderEvent)
_runtime_json = TypeAdapter(Runtime)


class SqlRenderStore:
    """The render store over SQLAlchemy. The columns are what statements look at; the rest of a render is its body."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @uninterrupted
    async def accept(self, render: Render, inputs: Mapping[str, Any], message: str) -> Render:
        """Store a new render, or return the one its idempotency key made."""
        render = replace(render, last_seq=1)
        async with self._database.writing() as connection:
            if render.idempotency_key is not None:
                known = sa.select(_renders.c.body).where(
                    _renders.c.account == render.account, _renders.c.idempotency_key == render.idempotency_key
                )
                if body := (await connection.execute(known)).scalar_one_or_none():
                    return _render_json.validate_json(body)
            await connection.execute(sa.insert(_renders).values(_row(render)))
            await connection.execute(sa.insert(_inputs).values(render_id=render.id, body=json.dumps(dict(inputs))))
            await self._append(connection, render, message)
        return render

    @uninterrupted
    async def advance(self, render_id: str, change: Change, message: str, *, epoch: int | None = None) -> Render | None:
        """Apply a change and append its event, if the fence lets it."""
        async with self._database.writing() as connection:
            query = sa.select(_renders.c.body).where(_renders.c.id == render_id)
            if epoch is not None:
                query = query.where(_renders.c.epoch == epoch)
            body = (await connection.execute(query)).scalar_one_or_none()
            if body is None:
                return None
            before = _render_json.validate_json(body)
            after = change(before)
            if after is None:
                return None
            after = replace(after, last_seq=before.last_seq + 1)
            await connection.execute(
                sa.update(_renders)
                .where(_renders.c.id == render_id, _renders.c.epoch == before.epoch)
                .values(_row(after))
            )
            await self._append(connection, after, message)
        return after

    @uninterrupted
    async def get(self, account: str, render_id: str) -> Render | None:
        """A render of the account."""
        query = sa.select(_renders.c.body).where(_renders.c.id == render_id, _renders.c.account == account)
        async with self._database.reading() as connection:
            body = (await connection.execute(query)).scalar_one_or_none()
        return _render_json.validate_json(body) if body else None

    @uninterrupted
    async def page(
        self, account: str, *, status: RenderStatus | None, slug: str | None, size: int, before: str | None
    ) -> Page:
        """Renders of the account, newest first."""
        query = sa.select(_renders.c.body).where(_renders.c.account == account).order_by(_renders.c.id.desc())
        if status is not None:
            query = query.where(_renders.c.status == status.value)
        if slug is not None:
            query = query.where(_renders.c.slug == slug)
        if before is not None:
            query = query.where(_renders.c.id < before)
        async with self._database.reading() as connection:
            bodies = (await connection.execute(query.limit(size + 1))).scalars().all()
        renders = [_render_json.validate_json(body) for body in bodies[:size]]
        return Page(renders, renders[-1].id if len(bodies) > size else None)

    @uninterrupted
    async def events(self, render_id: str, after_seq: int, limit: int) -> Sequence[RenderEvent]:
        """Events after `after_seq`, in order."""
        query = (
            sa.select(_events.c.body)
            .where(_events.c.render_id == render_id, _events.c.seq > after_seq)
            .order_by(_events.c.seq)
            .limit(limit)
        )
        async with self._database.reading() as connection:
            bodies = (await connection.execute(query)).scalars().all()
        return [_event_json.validate_json(body) for body in bodies]

    @uninterrupted
    async def inputs(self, render_id: str) -> Mapping[str, Any]:
        """The complete inputs of a render."""
        query = sa.select(_inputs.c.body).where(_inputs.c.render_id == render_id)
        async with self._database.reading() as connection:
            return json.loads((await connection.execute(query)).scalar_one())

    @uninterrupted
    async def with_status(self, *statuses: RenderStatus) -> Sequence[Render]:
        """Renders of all accounts in these states, oldest first."""
        query = sa.select(_renders.c.body).where(_renders.c.status.in_(statuses)).order_by(_renders.c.id)
        async with self._database.reading() as connection:
            bodies = (await connection.execute(query)).scalars().all()
        return [_render_json.validate_json(body) for body in bodies]

    @uninterrupted
    async def queue_position(self, render: Render) -> int:
        """Place of a queued render among all that wait."""
        query = (
            sa.select(sa.func.count())
            .select_from(_renders)
            .where(_renders.c.status == RenderStatus.QUEUED.value, _renders.c.id <= render.id)
        )
        async with self._database.reading() as connection:
            return (await connection.execute(query)).scalar_one()

    async def _append(self, connection: AsyncConnection, render: Render, message: str) -> None:
        event = snapshot(render, self._clock.now(), message)
        body = _event_json.dump_json(event).decode()
        await connection.execute(sa.insert(_events).values(render_id=render.id, seq=event.seq, body=body))


class SqlRuntimeStore:
    """The runtime store over SQLAlchemy."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def save(self, runtime: Runtime) -> None:
        """Store a runtime as it is now."""
        async with self._database.writing() as connection:
            await connection.execute(sa.delete(_runtimes).where(_runtimes.c.id == runtime.id))
            body = _runtime_json.dump_json(runtime).decode()
            await connection.execute(sa.insert(_runtimes).values(id=runtime.id, body=body))

    @uninterrupted
    async def remove(self, runtime_id: str) -> None:
        """Forget a runtime."""
        async with self._database.writing() as connection:
            await connection.execute(sa.delete(_runtimes).where(_runtimes.c.id == runtime_id))

    @uninterrupted
    async def all(self) -> Sequence[Runtime]:
        """Every stored runtime."""
        async with self._database.reading() as connection:
            bodies = (await connection.execute(sa.select(_runtimes.c.body))).scalars().all()
        return [_runtime_json.validate_json(body) for body in bodies]


def _row(render: Render) -> dict[str, Any]:
    return {
        "id": render.id,
        "account": render.account,
        "slug": render.slug,
        "status": render.status.value,
        "idempotency_key": render.idempotency_key,
        "epoch": render.epoch,
        "lease_until": render.lease_until.timestamp() if render.lease_until else None,
        "last_seq": render.last_seq,
        "body": _render_json.dump_json(render).decode(),
    }
