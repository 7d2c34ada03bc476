"""Audit entries on their way: a database beside the service that notes them."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from pydantic import TypeAdapter

from services.chassis.audit.entry import AuditEntry
from services.chassis.storage import Database, insert_into

MIGRATIONS = Path(__file__).parent / "migrations"

_entries = sa.table(
    "audit_outbox", sa.column("seq"), sa.column("id"), sa.column("body"), sa.column("has_ended", sa.Boolean)
)
_entry_json = TypeAdapter(AuditEntry)


@dataclass(frozen=True)
class Waiting:
    """An entry that is still to be passed on."""

    seq: int
    entry: AuditEntry


class AuditOutbox:
    """Entries that are durable here until they are durable in the audit log. Raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writes = _SharedWrites(database)

    async def begin(self, entry: AuditEntry) -> None:
        """Note that a call is about to change something."""
        await self._writes.write(lambda connection: _put(connection, entry, has_ended=False))

    async def end(self, entry: AuditEntry) -> None:
        """Note how a call has ended, whether or not its beginning was noted."""
        await self._writes.write(lambda connection: _put(connection, entry, has_ended=True))

    async def end_what_was_left(self) -> int:
        """Take calls of an earlier process, whose end nobody saw, for ended; how many there were."""
        left = sa.update(_entries).where(~_entries.c.has_ended).values(has_ended=True)
        return await self._database.write(lambda connection: connection.execute(left).rowcount)

    async def due(self, *, after: int, limit: int) -> Sequence[Waiting]:
        """Some entries of calls that have ended, the oldest first, beginning after `after`."""
        query = (
            sa.select(_entries)
            .where(_entries.c.has_ended, _entries.c.seq > after)
            .order_by(_entries.c.seq)
            .limit(limit)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [Waiting(row.seq, _entry_json.validate_json(row.body)) for row in rows]

    async def passed_on(self, seqs: Collection[int]) -> None:
        """Forget entries that the audit log has."""
        gone = sa.delete(_entries).where(_entries.c.seq.in_(seqs))
        await self._writes.write(lambda connection: connection.execute(gone))

    async def count(self) -> int:
        """How many entries are here."""
        query = sa.select(sa.func.count()).select_from(_entries)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())


class _SharedWrites:
    """Writes of calls under way at the same time, in one transaction: they share its flush to disk."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Callable[[sa.Connection], object], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def write(self, change: Callable[[sa.Connection], object]) -> None:
        """Make a change; durable when this returns."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((change, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        await done

    async def _write_all(self) -> None:
        while group := self._waiting:
            self._waiting = []
            failure = await self._outcome_of([change for change, _ in group])
            for _, done in group:
                if not done.done():  # a caller that was canceled does not ask any more
                    done.set_exception(failure) if failure else done.set_result(None)

    async def _outcome_of(self, changes: Sequence[Callable[[sa.Connection], object]]) -> Exception | None:
        def make_all(connection: sa.Connection) -> None:
            for change in changes:
                change(connection)

        try:
            await self._database.write(make_all)
        except Exception as failure:  # given to each of those who wait for it
            return failure
        return None


def _put(connection: sa.Connection, entry: AuditEntry, *, has_ended: bool) -> None:
    row = {"id": entry.id, "body": _entry_json.dump_json(entry).decode(), "has_ended": has_ended}
    put = insert_into(_entries, connection).values(row).on_conflict_do_update(index_elements=["id"], set_=row)
    connection.execute(put)
