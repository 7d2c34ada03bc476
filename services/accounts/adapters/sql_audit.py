"""The audit log in a SQL database."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from services.accounts.audit_ports import AuditFilter, Place
from services.chassis.audit.entry import AuditEntry
from services.chassis.storage import Database

_metadata = sa.MetaData()
_events = sa.Table(
    "audit_events",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("account", sa.Text),
    sa.Column("occurred_at_us", sa.BigInteger),
    sa.Column("took_ms", sa.Integer),
    sa.Column("api_key_id", sa.Text),
    sa.Column("session_id", sa.Text),
    sa.Column("method", sa.Text),
    sa.Column("resources", sa.Text),
    sa.Column("outcome", sa.Text),
    sa.Column("trace_id", sa.Text),
    sa.Column("request_id", sa.Text),
)
_resources = sa.Table(
    "audit_event_resources", _metadata, sa.Column("resource", sa.Text), sa.Column("event_id", sa.Text)
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SqlAuditStore:
    """An AuditStore on the schema that `migrations` make. Times are microseconds since 1970."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, entries: Sequence[AuditEntry]) -> None:
        """Keep entries; one whose id is known stays as it is."""
        told = {entry.id: entry for entry in reversed(entries)}
        is_known = sa.select(_events.c.id).where(_events.c.id.in_(told))

        def add(connection: sa.Connection) -> None:
            known = set(connection.execute(is_known).scalars())
            new = [entry for entry in told.values() if entry.id not in known]
            named = [{"resource": name, "event_id": entry.id} for entry in new for name in entry.resources]
            for table, rows in ((_events, [_row(entry) for entry in new]), (_resources, named)):
                if rows:
                    connection.execute(sa.insert(table), rows)

        await self._database.write(add)

    async def list(self, account: str, wanted: AuditFilter, *, size: int, behind: Place | None) -> Sequence[AuditEntry]:
        """At most `size` entries of the account, newest first."""
        # A resource has few events: a column that is no longer plain keeps the index of the account out of it.
        owner = _events.c.account if wanted.resource is None else _events.c.account.concat("")
        query = sa.select(_events).where(owner == account, *_conditions(wanted))
        if behind is not None:
            here = sa.tuple_(_events.c.occurred_at_us, _events.c.id)
            query = query.where(here < sa.tuple_(sa.literal(_to_us(behind.occurred_at)), sa.literal(behind.id)))
        query = query.order_by(_events.c.occurred_at_us.desc(), _events.c.id.desc()).limit(size)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [_to_entry(row) for row in rows]

    async def forget_before(self, moment: datetime, *, limit: int) -> int:
        """Delete at most `limit` entries that are older; how many there were."""
        old = sa.select(_events.c.id).where(_events.c.occurred_at_us < _to_us(moment)).limit(limit)

        def forget(connection: sa.Connection) -> int:
            ids = connection.execute(old).scalars().all()
            connection.execute(sa.delete(_resources).where(_resources.c.event_id.in_(ids)))
            return connection.execute(sa.delete(_events).where(_events.c.id.in_(ids))).rowcount

        return await self._database.write(forget)


def _conditions(wanted: AuditFilter) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if wanted.methods:
        found.append(_events.c.method.in_(wanted.methods))
    if wanted.api_key_id is not None:
        found.append(_events.c.api_key_id == wanted.api_key_id)
    if wanted.resource is not None:
        about = sa.select(_resources.c.event_id).where(_resources.c.resource == wanted.resource)
        found.append(_events.c.id.in_(about))
    if wanted.since is not None:
        found.append(_events.c.occurred_at_us >= _to_us(wanted.since))
    if wanted.until is not None:
        found.append(_events.c.occurred_at_us < _to_us(wanted.until))
    return found


def _row(entry: AuditEntry) -> dict[str, object]:
    return {
        "id": entry.id,
        "account": entry.account,
        "occurred_at_us": _to_us(entry.occurred_at),
        "took_ms": entry.took_ms,
        "api_key_id": entry.api_key_id,
        "session_id": entry.session_id,
        "method": entry.method,
        "resources": " ".join(entry.resources),
        "outcome": entry.outcome,
        "trace_id": entry.trace_id,
        "request_id": entry.request_id,
    }


def _to_entry(row: sa.Row[tuple[object, ...]]) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        account=row.account,
        occurred_at=_EPOCH + timedelta(microseconds=row.occurred_at_us),
        took_ms=row.took_ms,
        api_key_id=row.api_key_id,
        session_id=row.session_id,
        method=row.method,
        resources=tuple(row.resources.split()),
        outcome=row.outcome,
        trace_id=row.trace_id,
        request_id=row.request_id,
    )


def _to_us(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)
