"""Rules of transactions, on every kind of database."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from services.chassis.storage import Database
from tests.databases import OpenDatabase
from tests.unit.chassis.storage_bench import TALLIES, add_one, migrations_in, tally_of

Opened = Callable[[], AbstractAsyncContextManager[Database]]


@pytest.fixture
def opened(tmp_path: Path, open_database: OpenDatabase) -> Opened:
    return partial(open_database, tmp_path / "tallies.sqlite3", migrations_in(tmp_path))


async def test_what_was_written_is_there_after_a_restart(opened: Opened) -> None:
    async with opened() as database:
        assert await database.write(add_one("a")) == 1
    async with opened() as database:
        assert await database.read(tally_of("a")) == 1


async def test_a_transaction_that_fails_leaves_nothing(opened: Opened) -> None:
    def fail(connection: sa.Connection) -> None:
        add_one("a")(connection)
        raise ValueError("in the middle")

    async with opened() as database:
        with pytest.raises(ValueError, match="in the middle"):
            await database.write(fail)
        assert await database.read(tally_of("a")) == 0


async def test_whoever_gives_up_waiting_waits_for_the_end_of_the_transaction(opened: Opened) -> None:
    async with opened() as database:
        writing = asyncio.create_task(database.write(add_one("a", pause_seconds=0.1)))
        await asyncio.sleep(0.03)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await database.read(tally_of("a")) == 1


async def test_processes_that_count_on_the_same_row_lose_no_count(opened: Opened) -> None:
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(opened()) for _ in range(3)]
        await asyncio.gather(*(database.write(add_one("a")) for database in databases for _ in range(30)))
        assert await databases[0].read(tally_of("a")) == 90


async def test_processes_that_look_before_they_write_do_not_both_find_nothing(opened: Opened) -> None:
    def add_if_alone(connection: sa.Connection) -> bool:
        is_alone = not connection.execute(sa.select(sa.func.count()).select_from(TALLIES)).scalar_one()
        if is_alone:
            connection.execute(sa.insert(TALLIES).values(name=str(id(connection)), count=1))
        return is_alone

    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(opened()) for _ in range(3)]
        assert sum(await asyncio.gather(*(database.write(add_if_alone) for database in databases))) == 1


async def test_processes_that_start_at_the_same_time_make_the_tables_once(opened: Opened) -> None:
    async with AsyncExitStack() as stack:
        databases = await asyncio.gather(*(stack.enter_async_context(opened()) for _ in range(3)))
        for database in databases:
            await database.write(add_one("a"))
        assert await databases[0].read(tally_of("a")) == 3


async def test_a_reader_sees_what_was_committed_when_it_began(opened: Opened) -> None:
    async with opened() as database:
        loop = asyncio.get_running_loop()

        def look_twice(connection: sa.Connection) -> tuple[int, int]:
            first = tally_of("a")(connection)
            asyncio.run_coroutine_threadsafe(database.write(add_one("a")), loop).result()
            return first, tally_of("a")(connection)

        assert await database.read(look_twice) == (0, 0)
        assert await database.read(tally_of("a")) == 1


async def test_names_are_in_the_order_of_their_bytes(opened: Opened) -> None:
    names = ["B", "a", "_", "ä", "Z1", "z", "10", "9"]
    query = sa.select(TALLIES.c.name).order_by(TALLIES.c.name)
    async with opened() as database:
        for name in names:
            await database.write(add_one(name))
        found = await database.read(lambda connection: connection.execute(query).scalars().all())
    assert found == sorted(names)


async def test_an_error_quotes_no_input(opened: Opened) -> None:
    async with opened() as database:
        with pytest.raises(DBAPIError) as caught:
            await database.write(
                lambda connection: connection.execute(sa.insert(TALLIES).values(name="a secret", count=None))
            )
    assert "a secret" not in str(caught.value)
