"""Brings an installation's tables to this release without starting it, and moves files into a PostgreSQL and a bucket.

Use: python -m services.migrate           prints one JSON object: each database, its revision and the rows of its tables
     python -m services.migrate --move    the same, after every row of the SQLite files was copied into the PostgreSQL
                                          and every object of the home into the bucket, as far as these are named

Nothing of the installation may run meanwhile; whoever calls this sees to that.
"""

import asyncio
import json
import sqlite3
import sys
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
import sqlalchemy as sa
from obstore.store import LocalStore, ObjectStore
from sqlalchemy.exc import DBAPIError

from services.accounts.__main__ import MIGRATIONS as ACCOUNTS
from services.accounts.config import Settings as AccountsSettings
from services.billing_estimate.__main__ import MIGRATIONS as BILLING
from services.billing_estimate.config import BillingEstimateSettings
from services.catalog.__main__ import MIGRATIONS as CATALOG
from services.catalog.config import CatalogSettings
from services.chassis.audit.outbox import MIGRATIONS as AUDIT
from services.chassis.config import ChassisSettings, read_settings
from services.chassis.objects import check_objects, object_store, put_object
from services.chassis.storage import Database, StoreUnavailable, database_of, schema_of, sqlite_database
from services.chassis.strict_yaml import ConfigurationInvalid
from services.scheduler.__main__ import MIGRATIONS as SCHEDULER
from services.scheduler.config import SchedulerSettings
from services.traces.__main__ import MIGRATIONS as TRACES
from services.traces.config import TracesSettings

if TYPE_CHECKING:
    from obstore import ObjectMeta

_OURS = frozenset({"alembic_version", "forge_writers"})
"""Tables that say something of the database itself."""
_AT_ONCE = 500
_OBJECTS_AT_ONCE = 8

Row = tuple[Any, ...]


class MigrationFailed(Exception):
    """What stands in the way, for people."""


@dataclass(frozen=True)
class Place:
    """A database of a service: the file that it is, or that its schema is called like."""

    file: Path
    migrations: Path

    @property
    def name(self) -> str:
        """The schema's name."""
        return schema_of(self.file)


def places() -> tuple[Place, ...]:
    """Every database of an installation."""
    accounts, scheduler = read_settings(AccountsSettings), read_settings(SchedulerSettings)
    return (
        Place(accounts.database_path, ACCOUNTS),
        Place(accounts.audit_outbox_path, AUDIT),
        Place(read_settings(BillingEstimateSettings).database_path, BILLING),
        Place(read_settings(CatalogSettings).database_path, CATALOG),
        Place(scheduler.database_path, SCHEDULER),
        Place(scheduler.audit_outbox_path, AUDIT),
        Place(read_settings(TracesSettings).database_path, TRACES),
    )


async def migrate(*, is_move: bool) -> list[dict[str, Any]]:
    """Bring every database to its tables, and with `is_move` the rows of the files there; what each holds then.

    Raises MigrationFailed. What was moved before is compared, so that a move that broke off is repeated.
    """
    settings = read_settings(ChassisSettings)
    if is_move and settings.database_url is None and not settings.has_bucket:
        raise MigrationFailed(
            "nothing says where to: set FORGE_DATABASE_URL to a PostgreSQL, FORGE_OBJECTS_URL to a bucket, or both"
        )
    async with AsyncExitStack() as stack:
        found = [
            (place, await stack.enter_async_context(database_of(settings, place.file, place.migrations)))
            for place in places()
        ]
        if is_move and settings.database_url is not None:
            await _move(settings, found)
        return [{"name": place.name, **await database.read(_contents)} for place, database in found]


async def _move(settings: ChassisSettings, found: Sequence[tuple[Place, Database]]) -> None:
    moving = [(place, database) for place, database in found if place.file.exists()]
    if not moving:
        raise MigrationFailed(f"there are no databases in {settings.state_dir}")
    for place, _ in moving:
        async with sqlite_database(place.file, place.migrations):
            pass  # which brings the file to the tables of this release
    due: list[tuple[Place, Database]] = []
    for place, database in moving:
        if not await database.read(_is_empty):
            await _expect_same(place, database, "holds other rows already: drop its schemas, or name an empty database")
        else:
            due.append((place, database))
    for place, database in due:
        try:
            await database.write(lambda connection, file=place.file: _copy(file, connection))
        except DBAPIError as error:
            raise MigrationFailed(f"{place.file.name} cannot be moved: {error.orig}") from error
        await _expect_same(place, database, "did not take every row as it was")


async def move_objects() -> dict[str, int]:
    """Copy what lies in the home and not in the bucket; how many objects that were, and how many were there already.

    Raises MigrationFailed, ConfigurationInvalid. A move that broke off goes on where it was.
    """
    settings = read_settings(ChassisSettings)
    if not settings.has_bucket:
        return {}
    bucket = object_store(settings)
    if problem := await check_objects(bucket):
        raise MigrationFailed(problem)
    settings.objects_dir.mkdir(parents=True, exist_ok=True)
    folder = LocalStore(settings.objects_dir)
    there = {found["path"]: found async for some in obstore.list(bucket) for found in some}
    moved = kept = 0
    async for some in obstore.list(folder):
        due = [found["path"] for found in some if _is_due(found, there.get(found["path"]))]
        for first in range(0, len(due), _OBJECTS_AT_ONCE):
            batch = due[first : first + _OBJECTS_AT_ONCE]
            await asyncio.gather(*(_copy_object(folder, bucket, key) for key in batch))
        moved, kept = moved + len(due), kept + len(some) - len(due)
    return {"moved": moved, "there_before": kept}


def _is_due(ours: "ObjectMeta", theirs: "ObjectMeta | None") -> bool:
    """Whether an object has to be copied: a checkpoint may have been written again since it was."""
    written_at = ours["last_modified"].replace(microsecond=0)  # a bucket's times are whole seconds
    return theirs is None or theirs["size"] != ours["size"] or theirs["last_modified"] < written_at


async def _copy_object(folder: ObjectStore, bucket: ObjectStore, key: str) -> None:
    try:
        content = bytes(await (await obstore.get_async(folder, key)).bytes_async())
        await put_object(bucket, key, content)
    except Exception as error:  # whatever a store says
        raise MigrationFailed(f"{key} cannot be moved: {type(error).__name__}") from error


async def _expect_same(place: Place, database: Database, otherwise: str) -> None:
    difference = await database.read(lambda connection: _difference(place.file, connection))
    if difference:
        raise MigrationFailed(f"PostgreSQL {otherwise}: schema {place.name}, table {difference}")


def _tables(connection: sa.Connection) -> list[sa.Table]:
    """The tables of rows, those that others refer to first."""
    known = sa.MetaData()
    known.reflect(connection)
    return [table for table in known.sorted_tables if table.name not in _OURS]


def _is_empty(connection: sa.Connection) -> bool:
    return not any(connection.execute(sa.select(table).limit(1)).first() for table in _tables(connection))


def _contents(connection: sa.Connection) -> dict[str, Any]:
    revision = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
    counts = {
        table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for table in _tables(connection)
    }
    return {"revision": revision, "rows": counts}


def _copy(file: Path, connection: sa.Connection) -> None:
    for table in _tables(connection):
        names = table.columns.keys()
        batch: list[dict[str, Any]] = []
        for row in _rows_of_file(file, table):
            batch.append(dict(zip(names, row, strict=True)))
            if len(batch) == _AT_ONCE:
                connection.execute(sa.insert(table), batch)
                batch = []
        if batch:
            connection.execute(sa.insert(table), batch)
        _count_on(table, connection)


def _count_on(table: sa.Table, connection: sa.Connection) -> None:
    """Let numbers that the database gives go on after those that were copied."""
    for column in table.primary_key:
        sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
        if connection.execute(sa.select(sequence)).scalar_one() is None:
            continue
        after = sa.select(sa.func.coalesce(sa.func.max(column), 0) + 1).scalar_subquery()
        connection.execute(sa.select(sa.func.setval(sequence, after, False)))


def _difference(file: Path, connection: sa.Connection) -> str | None:
    """The first table whose rows differ; None when all are the same."""
    for table in _tables(connection):
        query = sa.select(table).order_by(*table.primary_key)
        with (
            connection.execute(query, execution_options={"yield_per": _AT_ONCE}) as copied,
            closing(_rows_of_file(file, table)) as rows,
        ):
            if any(row != copy for row, copy in zip_longest(rows, map(tuple, copied))):
                return table.name
    return None


def _rows_of_file(file: Path, table: sa.Table) -> Generator[Row]:
    """A table's rows, by its primary key, as PostgreSQL has them."""
    is_boolean = [isinstance(column.type, sa.Boolean) for column in table.columns]
    query = sa.select(*map(sa.column, table.columns.keys())).select_from(sa.table(table.name))
    query = query.order_by(*(sa.column(column.name) for column in table.primary_key))
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as source:
        for row in source.execute(str(query)):
            yield tuple(
                bool(value) if boolean and value is not None else value
                for value, boolean in zip(row, is_boolean, strict=True)
            )


def main(arguments: Sequence[str]) -> None:
    """Do what the command line says; 1 and one line where that cannot be done."""
    is_move = "--move" in arguments
    try:
        databases = asyncio.run(migrate(is_move=is_move))
        objects = asyncio.run(move_objects()) if is_move else {}
    except MigrationFailed as error:
        sys.exit(str(error))
    except ConfigurationInvalid as error:
        sys.exit("; ".join(error.faults))
    except StoreUnavailable:
        sys.exit("the database went away; do it again when it is back")
    sys.stdout.write(json.dumps({"databases": databases, "objects": objects}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
