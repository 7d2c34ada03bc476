"""The scheduler's SQLite, in memory and on virtual time, with a disk that fills up and answers that are never heard."""

import asyncio
import sqlite3
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.pool import StaticPool

from services.chassis.storage import Database, StoreUnavailable, Transaction
from services.chassis.storage.migrating import upgrade
from services.chassis.storage.sqlite import sqlite_engine
from services.scheduler.__main__ import MIGRATIONS
from tests.simulation.record import Record

T = TypeVar("T")


class Disk:
    """What outlives the scheduler's process: the database file, and how the disk under it behaves."""

    def __init__(self, rng: Random, record: Record) -> None:
        self.is_full = False
        self.crash_at_commit: Callable[[], None] | None = None
        """Called once, right after the next commit: its caller dies before it hears of it."""
        self.on_commit: Callable[[sqlite3.Connection], None] = lambda _: None
        """Shown every commit, before anybody else hears of it."""
        self._rng = rng
        self._record = record
        self._connection, self.file = _connection()
        _empty_schema().backup(self.file)

    def latency(self) -> float:
        """How long one way to the disk takes."""
        return self._rng.expovariate(1 / 0.004)

    def read(self, transaction: Transaction[T]) -> T:
        """Run a transaction that reads."""
        with self._connection.begin():
            return transaction(self._connection)

    def commit(self, transaction: Transaction[T]) -> T:
        """Run a transaction that writes. Raises StoreUnavailable when the disk is full: then nothing happened."""
        if self.is_full:
            self._record("the disk is full")
            raise StoreUnavailable
        with self._connection.begin():
            result = transaction(self._connection)
        self.on_commit(self.file)
        if crash := self.crash_at_commit:
            self.crash_at_commit = None
            self._record("dies after a commit, before it hears of it")
            crash()
        return result


class SimulatedDatabase(Database):
    """One scheduler's connection to the disk: a transaction happens at one moment, somewhere in the call's time."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._turn = asyncio.Lock()

    async def write(self, transaction: Transaction[T]) -> T:
        """Run a transaction that writes, one at a time."""
        return await _uninterrupted(self._in_turn(transaction))

    async def read(self, transaction: Transaction[T]) -> T:
        """Run a transaction on what was committed."""
        await asyncio.sleep(self._disk.latency())
        return self._disk.read(transaction)

    def close(self) -> None:
        """The disk outlives its connections."""

    async def _in_turn(self, transaction: Transaction[T]) -> T:
        async with self._turn:
            await asyncio.sleep(self._disk.latency())
            result = self._disk.commit(transaction)
            await asyncio.sleep(self._disk.latency())
        return result


async def _uninterrupted(work: Any) -> Any:
    """As the real one: who is canceled waits for the transaction's end."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


@cache
def _connection() -> tuple[Connection, sqlite3.Connection]:
    """One connection for all simulations of this process, for its compiled statements, and sqlite's own below it."""
    return _connected(sqlite_engine("", begin="BEGIN IMMEDIATE", poolclass=StaticPool))


@cache
def _empty_schema() -> sqlite3.Connection:
    """A database that was just migrated."""
    engine = sqlite_engine("", begin="BEGIN IMMEDIATE", poolclass=StaticPool)
    with engine.begin() as connection:
        upgrade(connection, MIGRATIONS)
    return _connected(engine)[1]


def _connected(engine: Engine) -> tuple[Connection, sqlite3.Connection]:
    connection = engine.connect()
    return connection, connection.connection.dbapi_connection  # type: ignore[return-value] — it is sqlite's
