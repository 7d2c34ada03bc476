"""Renders in a SQL database."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from services.chassis.clock import Clock
from services.chassis.storage import Database
from services.scheduler.domain.render import ACTIVE, Render, RenderEvent, RenderStatus, snapshot
from services.scheduler.ports import Change, Page, Written

_renders = sa.table(
    "renders",
    *map(
        sa.column,
        (
            "id",
            "account",
            "slug",
            "status",
            "idempotency_key",
            "epoch",
            "lease_until",
            "last_seq",
            "ended_at",
            "body",
        ),
    ),
)
_inputs = sa.table("render_inputs", sa.column("render_id"), sa.column("body"))
_events = sa.table("render_events", sa.column("render_id"), sa.column("seq"), sa.column("body"))

_render_json = TypeAdapter(Render)
_event_json = TypeAdapter(RenderEvent)
_ACTIVE = [status.value for status in ACTIVE]
_DELETED = "deleted"
"""In place of the status, for renders that no listing and no search by status shows."""

# Statements that run often are made once: putting one together costs more than running it.
_bodies = sa.select(_renders.c.body)
_BODY = _bodies.where(_renders.c.id == sa.bindparam("of_id"))
_BODY_OF_EPOCH = _BODY.where(_renders.c.epoch == sa.bindparam("of_epoch"))
_BODY_OF_ACCOUNT = _BODY.where(_renders.c.account == sa.bindparam("of_account"))
_BODY_OF_KEY = _bodies.where(
    _renders.c.account == sa.bindparam("of_account"), _renders.c.idempotency_key == sa.bindparam("of_key")
)
_ADVANCE = sa.update(_renders).where(
    _renders.c.id == sa.bindparam("of_id"), _renders.c.epoch == sa.bindparam("of_epoch")
)
_RENEW = _ADVANCE.where(_renders.c.status.in_(_ACTIVE))
_OVERDUE = _bodies.where(_renders.c.lease_until < sa.bindparam("before"), _renders.c.status.in_(_ACTIVE)).order_by(
    _renders.c.lease_until
)
_WITH_STATUS = _bodies.where(_renders.c.status.in_(sa.bindparam("statuses", expanding=True))).order_by(_renders.c.id)
_APPEND = sa.insert(_events)
_EVENTS = (
    sa.select(_events.c.body)
    .where(_events.c.render_id == sa.bindparam("of_id"), _events.c.seq > sa.bindparam("after"))
    .order_by(_events.c.seq)
    .limit(sa.bindparam("at_most"))
)
_WITH_IDS = _renders.c.id.in_(sa.bindparam("ids", expanding=True))
_QUEUED_IDS = sa.select(_renders.c.id).where(_renders.c.status == RenderStatus.QUEUED.value)
_LAST_SEQS = sa.select(_renders.c.id, _renders.c.last_seq).where(_WITH_IDS)
_NEWEST_EVENTS = (
    sa.select(_events.c.render_id, _events.c.body)
    .join_from(_renders, _events, (_events.c.render_id == _renders.c.id) & (_events.c.seq == _renders.c.last_seq))
    .where(_WITH_IDS)
)
_AT_ONCE = 1_000
"""So many renders are asked for in one statement."""
_FORGET_INPUTS = sa.delete(_inputs).where(_inputs.c.render_id == sa.bindparam("of_id"))
_INPUTS = sa.select(_inputs.c.body).where(_inputs.c.render_id == sa.bindparam("of_id"))

Outbox = Callable[[sa.Connection, Render, RenderEvent], None]
"""Told, in the transaction that writes it, of every event with a new status."""


class SqlRenderStore:
    """The render store over SQLAlchemy. The columns are what statements look at; the rest of a render is its body.

    The lease is a column only: renewing it writes nothing else.
    """

    def __init__(self, database: Database, clock: Clock, *, outboxes: Sequence[Outbox] = ()) -> None:
        self._database = database
        self._clock = clock
        self._outboxes = outboxes

    async def accept(
        self, render: Render, inputs: Mapping[str, Any], message: str, *, keys_since: datetime
    ) -> Written | Render:
        """Store a new render, or return the one its idempotency key made."""
        render = replace(render, last_seq=1)

        def accept(connection: sa.Connection) -> Written | Render:
            if known := _with_key(connection, render.account, render.idempotency_key):
                if _is_remembered(known, keys_since):
                    return known
                forgotten = _row(replace(known, idempotency_key=None))
                connection.execute(sa.update(_renders).where(_renders.c.id == known.id).values(forgotten))
            connection.execute(sa.insert(_renders).values(_row(render)))
            connection.execute(sa.insert(_inputs).values(render_id=render.id, body=json.dumps(dict(inputs))))
            return self._append(connection, render, message, is_new_status=True)

        return await self._database.write(accept)

    async def with_key(self, account: str, key: str | None, *, keys_since: datetime) -> Render | None:
        """The render that an idempotency key made."""
        found = await self._database.read(lambda connection: _with_key(connection, account, key))
        return found if found and _is_remembered(found, keys_since) else None

    async def advance(
        self, render_id: str, change: Change, message: str, *, epoch: int | None = None
    ) -> Written | None:
        """Apply a change and append its event, if the fence lets it."""

        def advance(connection: sa.Connection) -> Written | None:
            query = _BODY if epoch is None else _BODY_OF_EPOCH
            body = connection.execute(query, {"of_id": render_id, "of_epoch": epoch}).scalar_one_or_none()
            if body is None:
                return None
            before = _render_json.validate_json(body)
            after = change(before)
            if after is None:
                return None
            after = replace(after, last_seq=before.last_seq + 1)
            connection.execute(_ADVANCE, {**_row(after), "of_id": render_id, "of_epoch": before.epoch})
            if after.deleted_at:
                connection.execute(_FORGET_INPUTS, {"of_id": render_id})
            return self._append(connection, after, message, is_new_status=after.status is not before.status)

        return await self._database.write(advance)

    async def renew(self, render_id: str, epoch: int, lease_until: datetime) -> bool:
        """Renew a lease, if the fence lets it."""
        values = {"lease_until": lease_until.timestamp(), "of_id": render_id, "of_epoch": epoch}
        return await self._database.write(lambda connection: connection.execute(_RENEW, values).rowcount == 1)

    async def get(self, account: str, render_id: str) -> Render | None:
        """A render of the account."""
        found = await self._find(_BODY_OF_ACCOUNT, of_id=render_id, of_account=account)
        return found[0] if found else None

    async def page(
        self,
        account: str,
        *,
        status: RenderStatus | None,
        slug: str | None,
        size: int,
        beyond: str | None,
        oldest_first: bool = False,
    ) -> Page:
        """Renders of the account that were not deleted, in order."""
        order = _renders.c.id.asc() if oldest_first else _renders.c.id.desc()
        query = sa.select(_renders.c.body).where(_mine(account), _renders.c.status != _DELETED).order_by(order)
        if status is not None:
            query = query.where(_renders.c.status == status.value)
        if slug is not None:
            query = query.where(_renders.c.slug == slug)
        if beyond is not None:
            query = query.where(_renders.c.id > beyond if oldest_first else _renders.c.id < beyond)
        renders = await self._find(query.limit(size + 1))
        return Page(renders[:size], renders[size - 1].id if len(renders) > size else None)

    async def events(self, render_id: str, after_seq: int, limit: int) -> Sequence[RenderEvent]:
        """Events after `after_seq`, in order."""
        asked = {"of_id": render_id, "after": after_seq, "at_most": limit}
        bodies = await self._database.read(lambda connection: connection.execute(_EVENTS, asked).scalars().all())
        return [_event_json.validate_json(body) for body in bodies]

    async def inputs(self, render_id: str) -> Mapping[str, Any]:
        """The complete inputs of a render."""
        asked = {"of_id": render_id}
        return json.loads(await self._database.read(lambda connection: connection.execute(_INPUTS, asked).scalar_one()))

    async def with_status(self, *statuses: RenderStatus) -> Sequence[Render]:
        """Renders of all accounts in these states, oldest first."""
        return await self._find(_WITH_STATUS, statuses=[status.value for status in statuses])

    async def overdue(self, now: datetime) -> Sequence[Render]:
        """Active renders whose lease is over."""
        return await self._find(_OVERDUE, before=now.timestamp())

    async def ended_since(self, moment: datetime) -> Sequence[Render]:
        """Renders of all accounts that ended after `moment`, oldest first."""
        return await self._find(
            sa.select(_renders.c.body)
            .where(_renders.c.ended_at > moment.timestamp())
            .order_by(_renders.c.ended_at, _renders.c.id)
        )

    async def queued_ids(self) -> Collection[str]:
        """Every render that waits for a runtime."""
        return await self._database.read(lambda connection: connection.execute(_QUEUED_IDS).scalars().all())

    async def found(self, ids: Collection[str]) -> Sequence[Render]:
        """Renders of any account; those that there are."""
        rows = await self._rows(_bodies.where(_WITH_IDS), ids)
        return [_render_json.validate_json(row.body) for row in rows]

    async def last_seqs(self, ids: Collection[str]) -> Mapping[str, int]:
        """The number of the newest event of each of these renders."""
        return {row.id: row.last_seq for row in await self._rows(_LAST_SEQS, ids)}

    async def newest_events(self, ids: Collection[str]) -> Mapping[str, RenderEvent]:
        """The newest event of each of these renders."""
        rows = await self._rows(_NEWEST_EVENTS, ids)
        return {row.render_id: _event_json.validate_json(row.body) for row in rows}

    async def _rows(self, query: sa.Executable, ids: Collection[str]) -> Sequence[sa.Row[Any]]:
        """What a query gives for these ids. Nobody waits for the database when there are none."""
        asked = list(ids)
        parts = [asked[begin : begin + _AT_ONCE] for begin in range(0, len(asked), _AT_ONCE)]
        if not parts:
            return []
        return await self._database.read(
            lambda connection: [row for part in parts for row in connection.execute(query, {"ids": part}).all()]
        )

    async def _find(self, query: sa.Select[tuple[Any]], **asked: Any) -> list[Render]:
        bodies = await self._database.read(lambda connection: connection.execute(query, asked).scalars().all())
        return [_render_json.validate_json(body) for body in bodies]

    def _append(self, connection: sa.Connection, render: Render, message: str, *, is_new_status: bool) -> Written:
        event = snapshot(render, self._clock.now(), message)
        body = _event_json.dump_json(event).decode()
        connection.execute(_APPEND, {"render_id": render.id, "seq": event.seq, "body": body})
        if is_new_status:
            for outbox in self._outboxes:
                outbox(connection, render, event)
        return Written(render, event)


def _mine(account: str) -> sa.ColumnElement[bool]:
    return _renders.c.account == account


def _with_key(connection: sa.Connection, account: str, key: str | None) -> Render | None:
    if key is None:
        return None
    body = connection.execute(_BODY_OF_KEY, {"of_account": account, "of_key": key}).scalar_one_or_none()
    return _render_json.validate_json(body) if body else None


def _is_remembered(known: Render, keys_since: datetime) -> bool:
    return bool(known.retry_of) or known.created_at >= keys_since


def _row(render: Render) -> dict[str, Any]:
    return {
        "id": render.id,
        "account": render.account,
        "slug": render.slug,
        "status": _DELETED if render.deleted_at else render.status.value,
        "idempotency_key": render.idempotency_key,
        "epoch": render.epoch,
        "lease_until": render.lease_until.timestamp() if render.lease_until else None,
        "last_seq": render.last_seq,
        "ended_at": render.ended_at.timestamp() if render.ended_at else None,
        "body": _render_json.dump_json(render).decode(),
    }
