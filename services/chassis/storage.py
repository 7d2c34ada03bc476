"""A service's own database: SQLAlchemy on SQLite, one writer, migrated at start by Alembic."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from services.chassis.errors import ServiceUnavailable
from services.chassis.tasks import uninterrupted

T = TypeVar("T")
Transaction = Callable[[Connection], T]
"""What happens in one transaction: a plain function, so that it cannot be interrupted in the middle."""

_READERS = 4


class StoreUnavailable(ServiceUnavailable):
    """The database cannot be read or written now: its disk is full or failing. Nothing of the transaction happened."""

    def __init__(self) -> None:
        super().__init__("the store")


class Database:
    """Transactions on one database, on threads of its own. A canceled caller waits for the end of its transaction."""

    def __init__(self, writer: Engine, reader: Engine) -> None:
        self._writer = writer
        self._reader = reader
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="database-writer")
        self._reading = ThreadPoolExecutor(_READERS, thread_name_prefix="database-reader")

    async def write(self, transaction: Transaction[T]) -> T:
        """Run a transaction that writes, one at a time.

        Durable when it returns, never happened when it raises. Raises StoreUnavailable.
        """
        return await _transact(self._writing, self._writer, transaction)

    async def read(self, transaction: Transaction[T]) -> T:
        """Run a transaction on a consistent view of what was committed. Raises StoreUnavailable."""
        return await _transact(self._reading, self._reader, transaction)

    def close(self) -> None:
        """Let go of threads and connections."""
        for threads in (self._reading, self._writing):
            threads.shutdown()
        for engine in (self._reader, self._writer):
            engine.dispose()


@asynccontextmanager
async def sqlite_database(path: Path, migrations: Path) -> AsyncIterator[Database]:
    """Open the SQLite file at `path`, made when missing, with the schema that `migrations` lead to."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(sqlite_engine(f"/{path}", begin="BEGIN IMMEDIATE"), sqlite_engine(f"/{path}", begin="BEGIN"))
    try:
        await database.write(lambda connection: upgrade(connection, migrations))
        yield database
    finally:
        await asyncio.to_thread(database.close)


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
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def upgrade(connection: Connection, migrations: Path) -> None:
    """Bring a database to the schema that `migrations` lead to."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("version_locations", str(migrations))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def _transact(threads: ThreadPoolExecutor, engine: Engine, transaction: Transaction[T]) -> T:
    def run() -> T:
        try:
            with engine.begin() as connection:
                return transaction(connection)
        except DBAPIError as error:
            if _is_outage(error):
                raise StoreUnavailable from error
            raise

    return await uninterrupted(asyncio.get_running_loop().run_in_executor(threads, run))


def _is_outage(error: DBAPIError) -> bool:
    """Whether the database could not do what it should, rather than that it was asked for something wrong."""
    words = ("full", "disk i/o error", "locked", "unable to open", "readonly")
    return any(word in str(error.orig).lower() for word in words)
