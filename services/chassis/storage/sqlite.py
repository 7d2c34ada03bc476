"""Transactions on a SQLite file: one writer, readers beside it."""

import sqlite3
import time
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from services.chassis.storage.database import StoreUnavailable, ThreadedDatabase, Transaction
from services.chassis.storage.migrating import upgrade

T = TypeVar("T")
_BUSY_SECONDS, _AGAIN_SECONDS = 5, 0.01
"""How long another process's lock is waited for, and how often that is looked at where SQLite itself does not wait."""


class SqliteDatabase(ThreadedDatabase):
    """A Database in the file at `path`, made when missing, with the schema that `migrations` lead to."""

    def __init__(self, path: Path, migrations: Path) -> None:
        super().__init__()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._writer = sqlite_engine(f"/{path}", begin="BEGIN IMMEDIATE")
        self._reader = sqlite_engine(f"/{path}", begin="BEGIN")
        self._migrations = migrations

    async def prepare(self) -> None:
        """Bring the file to its schema."""
        await self.write(lambda connection: upgrade(connection, self._migrations))

    def _write(self, transaction: Transaction[T]) -> T:
        return _transact(self._writer, transaction)

    def _read(self, transaction: Transaction[T]) -> T:
        return _transact(self._reader, transaction)

    def _disconnect(self) -> None:
        for engine in (self._reader, self._writer):
            engine.dispose()


def sqlite_engine(location: str, *, begin: str, **options: Any) -> Engine:
    """An engine with durable commits, readers beside the writer, and transactions that begin when we say so.

    `location` is what follows "sqlite://": "//path", or nothing for a database in memory.
    """
    # Parameters of statements hold inputs: the text of an error must not quote them.
    engine = create_engine(
        f"sqlite://{location}", connect_args={"check_same_thread": False}, hide_parameters=True, **options
    )

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        cursor = connection.cursor()
        for pragma in (f"busy_timeout={_BUSY_SECONDS * 1000}", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        _write_ahead(cursor)
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Have a new file keep a write-ahead log. Whoever asks that while another one does is refused without a wait."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(_AGAIN_SECONDS)
        else:
            return


def _transact(engine: Engine, transaction: Transaction[T]) -> T:
    try:
        with engine.begin() as connection:
            return transaction(connection)
    except DBAPIError as error:
        if _is_outage(error):
            raise StoreUnavailable from error
        raise


def _is_outage(error: DBAPIError) -> bool:
    """Whether the database could not do what it should, rather than that it was asked for something wrong."""
    words = ("full", "disk i/o error", "locked", "unable to open", "readonly")
    return any(word in str(error.orig).lower() for word in words)
