"""Opening a service's database where the installation keeps it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from services.chassis.config import ChassisSettings
from services.chassis.storage.database import Database
from services.chassis.storage.postgresql import PostgresqlDatabase
from services.chassis.storage.sqlite import SqliteDatabase


def database_of(settings: ChassisSettings, path: Path, migrations: Path) -> AbstractAsyncContextManager[Database]:
    """Open the file at `path`, or where the installation has a PostgreSQL the schema there that is called like it."""
    if settings.database_url is None:
        return sqlite_database(path, migrations)
    return postgresql_database(settings.database_url.get_secret_value(), schema_of(path), migrations)


def schema_of(path: Path) -> str:
    """What the schema of PostgreSQL is called that stands for the SQLite file at `path`."""
    return path.stem.replace("-", "_")


def sqlite_database(path: Path, migrations: Path) -> AbstractAsyncContextManager[Database]:
    """Open the SQLite file at `path`, made when missing, with the tables that `migrations` lead to."""
    return _opened(SqliteDatabase(path, migrations))


def postgresql_database(url: str, schema: str, migrations: Path) -> AbstractAsyncContextManager[Database]:
    """Open a schema of PostgreSQL, made when missing, with the tables that `migrations` lead to."""
    return _opened(PostgresqlDatabase(url, schema, migrations))


@asynccontextmanager
async def _opened(database: SqliteDatabase | PostgresqlDatabase) -> AsyncIterator[Database]:
    try:
        await database.prepare()
        yield database
    finally:
        await asyncio.to_thread(database.close)
