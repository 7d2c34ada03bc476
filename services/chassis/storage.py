"""A service's own database: SQLAlchemy on SQLite, one writer, migrated at start by Alembic."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

P = ParamSpec("P")
T = TypeVar("T")


def uninterrupted(method: Callable[P, Coroutine[Any, Any, T]]) -> "Callable[P, CoroutineType[Any, Any, T]]":
    """Let a coroutine that holds a transaction run to its end when its caller is canceled.

    A transaction cut off in the middle leaves its connection in an unknown state, and SQLite's only write lock with it.
    """

    @functools.wraps(method)
    async def shielded(*args: P.args, **kwargs: P.kwargs) -> T:
        task = asyncio.create_task(method(*args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            raise

    return shielded


class Database:
    """Transactions on one database, to be held by `uninterrupted` coroutines only."""

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine) -> None:
        self._writer = writer
        self._reader = reader
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """The one transaction that writes: durable once the block has ended, never happened when it raises."""
        async with self._turn, self._writer.begin() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A consistent view of what was committed."""
        async with self._reader.begin() as connection:
            yield connection


@asynccontextmanager
async def sqlite_database(path: Path, migrations: Path) -> AsyncIterator[Database]:
    """Open the SQLite file at `path`, made when missing, with the schema that `migrations` lead to."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    url = f"sqlite+aiosqlite:///{path}"
    writer = create_async_engine(url, pool_size=1, max_overflow=0)
    reader = create_async_engine(url, pool_size=8, max_overflow=8)
    _tune(writer, begin="BEGIN IMMEDIATE")
    _tune(reader, begin="BEGIN")
    try:
        async with writer.begin() as connection:
            await connection.run_sync(_upgrade, migrations)
        yield Database(writer, reader)
    finally:
        await reader.dispose()
        await writer.dispose()


def _tune(engine: AsyncEngine, *, begin: str) -> None:
    """Durable commits, readers beside the writer, and transactions that begin when we say so."""

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _upgrade(connection: Connection, migrations: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("version_locations", str(migrations))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
