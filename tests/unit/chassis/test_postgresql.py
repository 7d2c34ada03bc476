"""What becomes of transactions when PostgreSQL is away, on a real one that is treated badly."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, suppress
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from services.chassis.storage import CommitInDoubt, Database, StoreUnavailable, postgresql, postgresql_database
from services.chassis.strict_yaml import ConfigurationInvalid
from tests.postgresql import PostgresqlServer, Wire, a_postgresql
from tests.unit.chassis.storage_bench import add_one, migrations_in, tally_of

CONNECTIONS = 20


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with a_postgresql(max_connections=str(CONNECTIONS)) as running:
        yield running


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def wire(server: PostgresqlServer) -> Wire:
    return Wire(server.socket)


@pytest.fixture
async def database(tmp_path: Path, wire: Wire, stack: AsyncExitStack) -> Database:
    """A database at the end of the wire."""
    address = await stack.enter_async_context(wire.address())
    return await stack.enter_async_context(a_database(address, tmp_path))


def a_database(url: str, folder: Path) -> AbstractAsyncContextManager[Database]:
    return postgresql_database(url, f"of_{abs(hash(folder)):x}", migrations_in(folder))


async def counting(database: Database, until: asyncio.Event) -> int:
    """Count until told to stop; how often it was told that it had counted."""
    count = 0
    while not until.is_set():
        await database.write(add_one("a"))
        count += 1
    return count


async def test_a_transaction_that_hangs_gives_up_its_locks_and_runs_again(server, tmp_path, stack, monkeypatch):
    monkeypatch.setattr(postgresql, "_OPTIONS", "-c idle_in_transaction_session_timeout=500ms")
    hanging = await stack.enter_async_context(a_database(server.url, tmp_path))
    again = postgresql_database(server.url, f"of_{abs(hash(tmp_path)):x}", tmp_path / "migrations")
    other = await stack.enter_async_context(again)
    await other.write(add_one("a"))
    times = iter([1.5])

    def hang_once(connection):
        connection.execute(sa.text("SELECT * FROM tallies FOR UPDATE"))
        time.sleep(next(times, 0.0))
        return add_one("a")(connection)

    waiting = asyncio.create_task(hanging.write(hang_once))
    await asyncio.sleep(0.2)
    began = time.monotonic()
    assert await other.write(add_one("a")) == 2
    assert time.monotonic() - began < 1.2
    assert await waiting == 3


@pytest.mark.parametrize("when", ["before", "during", "after"])
async def test_a_wire_that_breaks_at_a_commit_neither_loses_nor_repeats_it(database, wire, when):
    assert await database.write(add_one("a")) == 1
    wire.cut_at(b"COMMIT", when)
    assert await database.write(add_one("a")) == 2
    assert wire.cuts == 1
    assert await database.read(tally_of("a")) == 2


@pytest.mark.parametrize("word", [b"SELECT tallies", b"UPDATE tallies", b"forge_writers", b"BEGIN"])
async def test_a_wire_that_breaks_in_the_middle_is_not_noticed(database, wire, word):
    assert await database.write(add_one("a")) == 1
    wire.cut_at(word, "after")
    assert await database.write(add_one("a")) == 2
    assert wire.cuts == 1


async def test_a_reader_whose_wire_breaks_reads_again(database, wire):
    await database.write(add_one("a"))
    wire.cut_at(b"SELECT tallies", "during")
    assert await database.read(tally_of("a")) == 1
    assert wire.cuts == 1


async def test_a_commit_that_nobody_can_tell_of_is_in_doubt_and_the_next_write_goes_on(database, wire, monkeypatch):
    monkeypatch.setattr(postgresql, "PATIENCE_SECONDS", 0.5)
    await database.write(add_one("a"))
    wire.blocks_after_cut = True
    wire.cut_at(b"COMMIT", "after")
    with pytest.raises(CommitInDoubt):
        await database.write(add_one("a"))
    with pytest.raises(StoreUnavailable):
        await database.read(tally_of("a"))
    wire.is_blocked = False
    assert await database.write(add_one("a")) == 3


@pytest.mark.parametrize("how", ["fast", "immediate"])
async def test_a_restart_of_the_server_loses_nothing_and_repeats_nothing(tmp_path, server, stack, how):
    database = await stack.enter_async_context(a_database(server.url, tmp_path))
    is_over = asyncio.Event()
    counted = asyncio.create_task(counting(database, is_over))
    for _ in range(2):
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.stop, how)
        await asyncio.to_thread(server.start)
    await asyncio.sleep(0.3)
    is_over.set()
    times = await counted
    assert await database.read(tally_of("a")) == times > 10


async def test_that_every_backend_is_killed_loses_nothing_and_repeats_nothing(tmp_path, server, stack):
    database = await stack.enter_async_context(a_database(server.url, tmp_path))
    is_over = asyncio.Event()
    counted = asyncio.create_task(counting(database, is_over))
    for _ in range(20):
        await asyncio.sleep(0.05)
        await asyncio.to_thread(server.end_every_backend)
    is_over.set()
    times = await counted
    assert await database.read(tally_of("a")) == times > 20


async def test_whoever_finds_all_connections_taken_waits_for_one(tmp_path, server, stack):
    database = await stack.enter_async_context(a_database(server.url, tmp_path))
    await database.write(add_one("a"))
    server.end_every_backend()
    with ExitStack() as others:
        with suppress(psycopg.OperationalError):  # which says that there are no more
            for _ in range(CONNECTIONS + 1):
                others.enter_context(psycopg.connect(server.url))
        writing = asyncio.create_task(database.write(add_one("a")))
        await asyncio.sleep(0.5)
        assert not writing.done()
    assert await writing == 2


async def test_a_server_that_stays_away_is_told_of_as_that(tmp_path, server, stack, monkeypatch):
    monkeypatch.setattr(postgresql, "PATIENCE_SECONDS", 0.5)
    database = await stack.enter_async_context(a_database(server.url, tmp_path))
    await database.write(add_one("a"))
    server.stop("fast")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await database.write(add_one("a"))
    assert time.monotonic() - began >= 0.5
    with pytest.raises(StoreUnavailable):
        await database.read(tally_of("a"))
    server.start()
    assert await database.write(add_one("a")) == 2


async def test_a_server_that_does_not_answer_at_the_start_is_told_of_with_its_setting(tmp_path, server, monkeypatch):
    monkeypatch.setattr(postgresql, "PATIENCE_SECONDS", 0.2)
    server.stop("fast")
    try:
        with pytest.raises(ConfigurationInvalid, match=r"FORGE_DATABASE_URL: .* failed") as caught:
            async with a_database(server.url.replace("postgres:@", "postgres:canary@"), tmp_path):
                pass
    finally:
        server.start()
    assert "canary" not in str(caught.value)


async def test_a_role_that_may_make_no_schema_is_told_of_with_the_setting(tmp_path, server):
    server.run("CREATE ROLE guest LOGIN")
    with pytest.raises(ConfigurationInvalid, match=r"FORGE_DATABASE_URL: .*permission denied for database"):
        async with a_database(server.url.replace("postgres:@", "guest:@"), tmp_path):
            pass


async def test_a_server_that_takes_no_writes_is_one_that_is_away(tmp_path, server, stack, monkeypatch):
    monkeypatch.setattr(postgresql, "PATIENCE_SECONDS", 0.2)
    database = await stack.enter_async_context(a_database(server.url, tmp_path))
    server.run("ALTER SYSTEM SET default_transaction_read_only = on")
    server.run("SELECT pg_reload_conf()")
    await asyncio.sleep(0.3)
    try:
        with pytest.raises(StoreUnavailable):
            await database.write(add_one("a"))
        assert await database.read(tally_of("a")) == 0
    finally:
        server.run("ALTER SYSTEM RESET default_transaction_read_only")
        server.run("SELECT pg_reload_conf()")
        await asyncio.sleep(0.3)
    assert await database.write(add_one("a")) == 1
