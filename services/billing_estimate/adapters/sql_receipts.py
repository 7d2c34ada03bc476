"""Receipts in a SQL database. Times are microseconds since 1970, in whole numbers; so is device time, and money."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from services.billing_estimate.adapters import sql_tables as t
from services.billing_estimate.domain.calibration import NEWEST_RENDERS, Outcome
from services.billing_estimate.domain.prices import Price, price_at
from services.billing_estimate.domain.receipts import AttemptUse, Charge, PhaseCharge, Receipt, RenderUse, charge
from services.billing_estimate.domain.targets import Target
from services.billing_estimate.domain.usage import Period, Usage, UsageRow
from services.chassis.storage import Database

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class SqlReceiptStore:
    """A ReceiptStore on the schema that `migrations` make."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(
        self, render: RenderUse, attempts: Sequence[AttemptUse], prices: Sequence[Price]
    ) -> Receipt | None:
        """Put on record how a render stands; its receipt when that made it final."""

        def record(connection: sa.Connection) -> Receipt | None:
            this = t.renders.c.render_id == render.render_id
            known = connection.execute(sa.select(t.renders.c.seq, t.renders.c.is_final).where(this)).one_or_none()
            if known is None:
                connection.execute(sa.insert(t.renders).values(_render_row(render)))
            elif known.is_final or known.seq >= render.seq:
                return None
            else:
                connection.execute(sa.update(t.renders).where(this).values(_render_row(render)))
            of_render = sa.select(t.attempts.c.attempt).where(t.attempts.c.render_id == render.render_id)
            on_record = set(connection.execute(of_render).scalars())
            for attempt in attempts:
                if attempt.attempt not in on_record:
                    _add(connection, render, charge(attempt, _price_of(attempt, prices)))
                    on_record.add(attempt.attempt)
            if not render.is_final:
                return None
            receipt = Receipt(render, _charges(connection, render.render_id))
            if receipt.outcome is not None:
                _compare(connection, render.render_id, receipt.outcome)
            return receipt

        return await self._database.write(record)

    async def receipt(self, account: str, render_id: str) -> Receipt | None:
        """The receipt of a render of the account."""
        query = sa.select(t.renders).where(t.renders.c.render_id == render_id, t.renders.c.account == account)

        def receipt(connection: sa.Connection) -> Receipt | None:
            row = connection.execute(query).one_or_none()
            return None if row is None else Receipt(_to_render(row), _charges(connection, render_id))

        return await self._database.read(receipt)

    async def usage(self, account: str, period: Period, *, slug: str | None, api_key_id: str | None) -> Usage:
        """What the account's attempts that ended in these days took, newest day first."""
        days = t.attempts.c.ended_day.between(_to_day(period.since), _to_day(period.until))
        found = [t.attempts.c.account == account, days]
        found += [] if slug is None else [t.attempts.c.slug == slug]
        found += [] if api_key_id is None else [t.attempts.c.api_key_id == api_key_id]
        renders = sa.func.count(t.attempts.c.render_id.distinct()).label("renders")
        keys = (t.attempts.c.ended_day, t.attempts.c.slug, t.attempts.c.version, t.attempts.c.api_key_id)
        query = (
            sa.select(
                *keys,
                renders,
                sa.func.count().label("attempts"),
                sa.func.sum(t.attempts.c.gpu_us).label("gpu_us"),
                sa.func.coalesce(sa.func.sum(t.attempts.c.cost_micro_usd), 0).label("cost_micro_usd"),
            )
            .where(*found)
            .group_by(*keys)
            .order_by(t.attempts.c.ended_day.desc(), *keys[1:])
        )

        def usage(connection: sa.Connection) -> Usage:
            rows = [_to_usage_row(row) for row in connection.execute(query)]
            return Usage(period, rows, connection.execute(sa.select(renders).where(*found)).scalar_one())

        return await self._database.read(usage)

    async def outcomes(self, slug: str | None = None, version: str | None = None) -> Sequence[Outcome]:
        """The newest renders that can be compared with their estimates."""
        query = sa.select(t.outcomes)
        if slug is not None:
            query = query.where(t.outcomes.c.slug == slug)
        if version is not None:
            query = query.where(t.outcomes.c.version == version)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [_to_outcome(row) for row in rows]


def _price_of(attempt: AttemptUse, prices: Sequence[Price]) -> float | None:
    """What the attempt was begun at, as the scheduler says; else what the price book says of that moment."""
    if attempt.cost_per_gpu_hour_usd is not None:
        return attempt.cost_per_gpu_hour_usd
    price = price_at(prices, attempt.target, attempt.started_at)
    return None if price is None else price.cost_per_gpu_hour_usd


def _add(connection: sa.Connection, render: RenderUse, charge: Charge) -> None:
    """Put an attempt on record, for good."""
    row = {
        "render_id": render.render_id,
        "attempt": charge.attempt,
        "account": render.account,
        "api_key_id": render.api_key_id,
        "slug": render.slug,
        "version": render.version,
        "gpu_type": charge.target.gpu_type,
        "region": charge.target.region,
        "simulated": charge.simulated,
        "started_at_us": _to_us(charge.started_at),
        "ended_at_us": _to_us(charge.ended_at),
        "ended_day": _to_day(charge.ended_at.astimezone(UTC).date()),
        "outcome": charge.outcome,
        "resumed_steps": charge.resumed_steps,
        "cost_per_gpu_hour_usd": charge.cost_per_gpu_hour_usd,
        "gpu_us": charge.gpu_us,
        "cost_micro_usd": charge.cost_micro_usd,
    }
    connection.execute(sa.insert(t.attempts).values(row))
    key = {"render_id": render.render_id, "attempt": charge.attempt}
    for place, phase in enumerate(charge.phases):
        values = {"phase": phase.phase, "gpu_us": phase.gpu_us, "cost_micro_usd": phase.cost_micro_usd}
        connection.execute(sa.insert(t.phases).values(key | {"place": place} | values))


def _charges(connection: sa.Connection, render_id: str) -> tuple[Charge, ...]:
    phases: dict[int, list[PhaseCharge]] = {}
    of_render = (
        sa.select(t.phases).where(t.phases.c.render_id == render_id).order_by(t.phases.c.attempt, t.phases.c.place)
    )
    for row in connection.execute(of_render):
        phases.setdefault(row.attempt, []).append(PhaseCharge(row.phase, row.gpu_us, row.cost_micro_usd))
    attempts = sa.select(t.attempts).where(t.attempts.c.render_id == render_id).order_by(t.attempts.c.attempt)
    return tuple(
        Charge(
            attempt=row.attempt,
            target=Target(row.gpu_type, row.region),
            simulated=row.simulated,
            started_at=_to_datetime(row.started_at_us),
            ended_at=_to_datetime(row.ended_at_us),
            outcome=row.outcome,
            resumed_steps=row.resumed_steps,
            cost_per_gpu_hour_usd=row.cost_per_gpu_hour_usd,
            gpu_us=row.gpu_us,
            cost_micro_usd=row.cost_micro_usd,
            phases=tuple(phases.get(row.attempt, ())),
        )
        for row in connection.execute(attempts)
    )


def _compare(connection: sa.Connection, render_id: str, outcome: Outcome) -> None:
    """Keep an outcome, and let go of those of its target that are too old to count."""
    key = {
        "slug": outcome.slug,
        "version": outcome.version,
        "gpu_type": outcome.target.gpu_type,
        "region": outcome.target.region,
    }
    values = {
        "render_id": render_id,
        "ended_at_us": _to_us(outcome.ended_at),
        "actual": outcome.actual,
        "estimated": outcome.estimated,
        "estimated_p90": outcome.estimated_p90,
    }
    connection.execute(sa.insert(t.outcomes).values(key | values))
    too_old = (
        sa.select(t.outcomes.c.render_id)
        .where(*(t.outcomes.c[name] == value for name, value in key.items()))
        .order_by(t.outcomes.c.ended_at_us.desc(), t.outcomes.c.render_id.desc())
        .offset(NEWEST_RENDERS)
    )
    connection.execute(sa.delete(t.outcomes).where(t.outcomes.c.render_id.in_(too_old)))


def _render_row(render: RenderUse) -> dict[str, Any]:
    return {
        "render_id": render.render_id,
        "seq": render.seq,
        "account": render.account,
        "api_key_id": render.api_key_id,
        "slug": render.slug,
        "version": render.version,
        "status": render.status,
        "is_final": render.is_final,
        "created_at_us": _to_us(render.created_at),
        "ended_at_us": None if render.ended_at is None else _to_us(render.ended_at),
        "estimated_gpu_seconds": render.estimated_gpu_seconds,
        "estimated_gpu_seconds_p90": render.estimated_gpu_seconds_p90,
        "estimated_cost_usd": render.estimated_cost_usd,
    }


def _to_render(row: sa.Row[Any]) -> RenderUse:
    return RenderUse(
        render_id=row.render_id,
        seq=row.seq,
        account=row.account,
        api_key_id=row.api_key_id,
        slug=row.slug,
        version=row.version,
        status=row.status,
        is_final=row.is_final,
        created_at=_to_datetime(row.created_at_us),
        ended_at=None if row.ended_at_us is None else _to_datetime(row.ended_at_us),
        estimated_gpu_seconds=row.estimated_gpu_seconds,
        estimated_gpu_seconds_p90=row.estimated_gpu_seconds_p90,
        estimated_cost_usd=row.estimated_cost_usd,
    )


def _to_usage_row(row: Any) -> UsageRow:
    return UsageRow(
        day=_EPOCH.date() + timedelta(days=row.ended_day),
        slug=row.slug,
        version=row.version,
        api_key_id=row.api_key_id,
        renders=row.renders,
        attempts=row.attempts,
        gpu_us=int(row.gpu_us),  # sums are of another type with PostgreSQL
        cost_micro_usd=int(row.cost_micro_usd),
    )


def _to_outcome(row: sa.Row[Any]) -> Outcome:
    return Outcome(
        slug=row.slug,
        version=row.version,
        target=Target(row.gpu_type, row.region),
        ended_at=_to_datetime(row.ended_at_us),
        actual=row.actual,
        estimated=row.estimated,
        estimated_p90=row.estimated_p90,
    )


def _to_us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _to_datetime(us: int) -> datetime:
    return _EPOCH + us * _MICROSECOND


def _to_day(day: date) -> int:
    return (day - _EPOCH.date()).days
