"""Moving the rows of files into PostgreSQL, and objects into a bucket."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import psycopg
import pytest
import sqlalchemy as sa
from obstore.store import LocalStore, ObjectStore

from services import migrate as migrating
from services.chassis.storage import postgresql_database, sqlite_database
from services.chassis.strict_yaml import ConfigurationInvalid
from services.migrate import MigrationFailed, Place, migrate, move_objects, places
from tests.object_stores import SECRET
from tests.platforms import REPOSITORY

ROWS = 13
"""More than are copied at once."""
OBJECTS = {
    "renders/a/1/video.mp4": b"video" * 1000,
    "renders/a/1/pieces/00001.mp4": b"a piece",
    "renders/b/2/checkpoint": bytes(range(256)),
    "renders/b/2/empty": b"",
    "uploads/upl_1": b"a picture",
}


@pytest.fixture
def url(postgresql: str, tmp_path: Path) -> str:
    """An empty database."""
    name = f"move_{abs(hash(tmp_path)):x}"
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return postgresql.replace("/postgres?", f"/{name}?")


@pytest.fixture
def settings(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without files that is to lie in that database."""
    monkeypatch.setattr(migrating, "_AT_ONCE", 5)
    monkeypatch.setenv("FORGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FORGE_DATABASE_URL", url)


def value_of(column: sa.Column[Any], number: int) -> object:
    """A value of its own for each number, and those that others refer to."""
    if column.foreign_keys:
        return value_of(next(iter(column.foreign_keys)).column, number)
    kinds: dict[type, Callable[[], object]] = {
        sa.Boolean: lambda: number % 2 == 0,
        sa.Integer: lambda: number * 3,
        sa.Float: lambda: number / 3,
        sa.LargeBinary: lambda: number.to_bytes(4, "little") + b"\0\xff",
        sa.Text: lambda: f"{column.name} {number} é\n日本",
    }
    made = next(make for kind, make in kinds.items() if isinstance(column.type, kind))()
    return None if column.nullable and number % 5 == 0 else made


async def fill(place: Place) -> None:
    """Make rows in every table of a file."""
    async with sqlite_database(place.file, place.migrations) as database:

        def add(connection: sa.Connection) -> None:
            known = sa.MetaData()
            known.reflect(connection)
            for table in known.sorted_tables:
                if table.name != "alembic_version":
                    rows = [{c.name: value_of(c, number) for c in table.columns} for number in range(1, ROWS + 1)]
                    connection.execute(sa.insert(table), rows)

        await database.write(add)


async def fill_all() -> None:
    for place in places():
        await fill(place)


def test_every_service_with_tables_takes_part():
    folders = {*REPOSITORY.glob("services/*/adapters/migrations"), *REPOSITORY.glob("services/*/*/migrations")}
    assert {place.migrations for place in places()} == folders
    assert len({place.name for place in places()}) == len(places())


async def test_every_row_is_moved_and_moving_again_changes_nothing(settings):
    await fill_all()
    moved = await migrate(is_move=True)
    counts = {f"{each['name']}.{table}": count for each in moved for table, count in each["rows"].items()}
    assert set(counts.values()) == {ROWS}
    assert {"scheduler.renders", "traces.spans", "accounts.audit_events", "scheduler_audit.audit_outbox"} <= set(counts)
    assert await migrate(is_move=True) == moved
    assert await migrate(is_move=False) == moved


@pytest.mark.only_full_size
async def test_numbers_that_the_database_gives_go_on(settings, url):
    await fill_all()
    await migrate(is_move=True)
    (place,) = [place for place in places() if place.name == "traces"]
    add = sa.text("INSERT INTO spans (trace_id, body) VALUES ('x', 'y') RETURNING id")
    async with postgresql_database(url, place.name, place.migrations) as database:
        assert await database.write(lambda connection: connection.execute(add).scalar_one()) == ROWS * 3 + 1


@pytest.mark.only_full_size
async def test_a_move_that_broke_off_is_done_again(settings, url):
    await fill_all()
    moved = await migrate(is_move=True)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA scheduler CASCADE")
    assert await migrate(is_move=True) == moved


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("accounts.api_keys", "UPDATE {} SET name = 'other'"),
        pytest.param("traces.spans", "DELETE FROM {}", marks=pytest.mark.only_full_size),
    ],
)
async def test_a_database_with_other_rows_stays_as_it_is(settings, url, table, change):
    await fill_all()
    await migrate(is_move=True)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"{change.format(table)} WHERE id = (SELECT max(id) FROM {table})".encode())
        connection.execute("DROP SCHEMA catalog CASCADE")
    schema, _, name = table.partition(".")
    with pytest.raises(MigrationFailed, match=f"schema {schema}, table {name}"):
        await migrate(is_move=True)
    left = {each["name"]: each["rows"] for each in await migrate(is_move=False)}
    assert set(left["catalog"].values()) == {0}


async def test_files_that_are_not_there_are_no_fault_and_none_at_all_is(settings):
    with pytest.raises(MigrationFailed, match="no databases in"):
        await migrate(is_move=True)
    for place in places():
        if place.name in ("accounts", "scheduler"):
            await fill(place)
    rows = {each["name"]: set(each["rows"].values()) for each in await migrate(is_move=True)}
    assert rows == {place.name: {ROWS} if place.name in ("accounts", "scheduler") else {0} for place in places()}


async def test_a_text_that_postgresql_cannot_hold_is_told_of_and_nothing_of_that_file_is_moved(settings):
    (place,) = [place for place in places() if place.name == "traces"]
    await fill(place)
    change = sa.text("UPDATE spans SET body = 'a' || char(0) WHERE id = 30")
    async with sqlite_database(place.file, place.migrations) as database:
        await database.write(lambda connection: connection.execute(change))
    with pytest.raises(MigrationFailed, match=r"traces\.sqlite3 cannot be moved: .*NUL"):
        await migrate(is_move=True)
    left = {each["name"]: each["rows"] for each in await migrate(is_move=False)}
    assert set(left["traces"].values()) == {0}


async def test_without_a_database_there_is_nowhere_to_move_to(settings, monkeypatch):
    monkeypatch.delenv("FORGE_DATABASE_URL")
    with pytest.raises(MigrationFailed, match="FORGE_DATABASE_URL"):
        await migrate(is_move=True)
    assert {each["name"] for each in await migrate(is_move=False)} == {place.name for place in places()}


@pytest.fixture
def objects(bucket: Callable[[], ObjectStore], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LocalStore:
    """An installation with objects in its home that are to lie in a bucket."""
    monkeypatch.setenv("FORGE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(migrating, "_OBJECTS_AT_ONCE", 3)
    folder = LocalStore(tmp_path / "home" / "objects", mkdir=True)
    for key, content in OBJECTS.items():
        obstore.put(folder, key, content)
    return folder


def read(store: ObjectStore) -> dict[str, bytes]:
    keys = [found["path"] for some in obstore.list(store) for found in some]
    return {key: bytes(obstore.get(store, key).bytes()) for key in keys}


async def test_every_object_is_moved_and_moving_again_moves_only_what_is_missing(objects, bucket):
    assert await move_objects() == {"moved": len(OBJECTS), "there_before": 0}
    assert read(bucket()) == read(objects) == OBJECTS
    obstore.delete(bucket(), "renders/a/1/video.mp4")
    obstore.put(bucket(), "uploads/upl_1", b"broken off")
    assert await move_objects() == {"moved": 2, "there_before": len(OBJECTS) - 2}
    assert read(bucket()) == OBJECTS


async def test_an_object_that_was_written_again_is_moved_again(objects, bucket):
    await move_objects()
    newer = bytes(reversed(OBJECTS["renders/b/2/checkpoint"]))
    await asyncio.sleep(1.1)  # a bucket's times are whole seconds
    obstore.put(objects, "renders/b/2/checkpoint", newer)
    assert await move_objects() == {"moved": 1, "there_before": len(OBJECTS) - 1}
    assert read(bucket())["renders/b/2/checkpoint"] == newer


async def test_a_bucket_that_refuses_takes_nothing_and_is_told_of(objects, bucket, monkeypatch, object_server):
    _, spoiler = object_server
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-somebody-else")
    with pytest.raises(ConfigurationInvalid, match="refuses the keys"):
        await move_objects()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    spoiler.refuse(100)
    with pytest.raises(MigrationFailed, match="does not answer"):
        await move_objects()
    spoiler.nothing()
    assert read(bucket()) == {}


async def test_without_a_bucket_no_object_is_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("FORGE_HOME", str(tmp_path))
    assert await move_objects() == {}
    assert not (tmp_path / "objects").exists()
