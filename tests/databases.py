"""The databases that stores run on: SQLite files, and a real PostgreSQL for each process of the tests."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from hashlib import sha256
from pathlib import Path

from services.chassis.storage import Database, postgresql_database, sqlite_database

OpenDatabase = Callable[[Path, Path], AbstractAsyncContextManager[Database]]
"""Opens the database that stands for a path, with the tables that migrations lead to; again is a restart."""


def opening(url: str | None) -> OpenDatabase:
    """How databases are opened on SQLite, or in the PostgreSQL at `url`."""
    if url is None:
        return sqlite_database
    return partial(_in_schema, url)


def _in_schema(url: str, path: Path, migrations: Path) -> AbstractAsyncContextManager[Database]:
    return postgresql_database(url, f"of_{sha256(bytes(path)).hexdigest()[:20]}", migrations)
