"""Which of several schedulers leads, on a real PostgreSQL."""

import asyncio
from contextlib import AsyncExitStack

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from services.scheduler.adapters import postgresql_leadership
from services.scheduler.adapters.fenced_database import Deposed
from tests.postgresql import a_postgresql
from tests.unit.scheduler.replicas_bench import Town, within

SOON = 8.0


@pytest.fixture
def town(postgresql):
    return Town(postgresql)


@pytest.fixture
async def stack():
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def leader(town, stack):
    leader = await stack.enter_async_context(town.replica())
    await within(SOON, leader.leadership.gained())
    return leader


@pytest.fixture
async def follower(town, stack, leader):
    follower = await stack.enter_async_context(town.replica())
    while follower.leadership.leader is None:
        await asyncio.sleep(0.01)
    return follower


def count_up(connection):
    connection.execute(sa.text("INSERT INTO bulletins (id, body) SELECT coalesce(max(id), 0) + 1, '' FROM bulletins"))


async def counted(replica):
    count = sa.text("SELECT count(*) FROM bulletins")
    return await replica.database.read(lambda connection: connection.execute(count).scalar_one())


async def test_one_leads_and_the_other_knows_where(leader, follower):
    await asyncio.sleep(1.5)
    assert leader.leadership.term == 1
    assert follower.leadership.term is None
    assert follower.leadership.leader == leader.leadership.leader


async def test_two_that_were_given_the_same_address_are_told_of_in_words(leader, town, stack):
    with capture_logs() as logs:
        other = await stack.enter_async_context(town.replica(leader.leadership.leader))
        await asyncio.sleep(2.5)
    (warning,) = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert "FORGE_SCHEDULER_ADVERTISED_ADDRESS" in warning
    assert other.leadership.leader is None


async def test_of_many_that_start_at_once_one_leads(town, stack):
    replicas = await asyncio.gather(*(stack.enter_async_context(town.replica()) for _ in range(6)))
    await asyncio.sleep(2)
    assert sorted(replica.leadership.term or 0 for replica in replicas) == [0, 0, 0, 0, 0, 1]


async def test_when_the_leader_ends_another_one_leads_at_once(leader, follower):
    await leader.stop()
    await within(2, follower.leadership.gained())
    assert follower.leadership.term == 2


async def test_when_the_leader_is_killed_another_one_leads_long_before_its_lease_is_over(leader, follower):
    await leader.vanish()
    await within(4, follower.leadership.gained())
    assert follower.leadership.term == 2


@pytest.mark.only_full_size
async def test_a_leader_that_is_frozen_leads_until_its_lease_is_over(leader, follower, monkeypatch):
    monkeypatch.setattr(postgresql_leadership, "LEASE_SECONDS", 2.0)
    await asyncio.sleep(1.5)  # its lease is a short one now
    leader.leadership._renew = lambda session: asyncio.sleep(0)  # its session stays, and says nothing
    await within(10, follower.leadership.gained())
    del leader.leadership._renew
    await within(SOON, leader.deposed.wait())


async def test_a_leader_whose_session_breaks_goes_on_leading(town, leader, follower):
    for _ in range(3):
        await town.end_session_of_leader()
        await asyncio.sleep(1.2)
    assert leader.leadership.term == 1
    assert follower.leadership.term is None
    await leader.database.write(count_up)


@pytest.mark.only_full_size
@pytest.mark.parametrize("how", ["fast", "immediate"])
async def test_a_leader_leads_on_when_the_server_is_started_again(how, stack):
    with a_postgresql() as server:
        town = Town(server.url)
        leader = await stack.enter_async_context(town.replica())
        await within(SOON, leader.leadership.gained())
        follower = await stack.enter_async_context(town.replica())
        await asyncio.to_thread(server.stop, how)
        await asyncio.sleep(1)
        await asyncio.to_thread(server.start)
        await asyncio.sleep(3)
        assert leader.leadership.term == 1
        assert follower.leadership.term is None
        await leader.database.write(count_up)
        await stack.aclose()


async def test_once_another_one_leads_nothing_of_the_former_leader_happens(leader, follower):
    """Whatever it writes meanwhile: each transaction is over before the change, or never happens."""
    refused = asyncio.Event()

    async def write_on():
        try:
            while True:
                await leader.database.write(count_up)
        except Deposed:
            refused.set()

    writing = asyncio.create_task(write_on())
    await asyncio.sleep(0.5)
    leader.part.cancel()
    leader.leadership._url = "postgresql://nowhere.invalid/x"  # its session ends, and it does not know
    term, leader.leadership._term = leader.leadership._term, None
    await asyncio.wait({leader.part})
    leader.leadership._term = term
    await within(SOON, follower.leadership.gained())
    then = await counted(follower)
    await within(SOON, refused.wait())
    await writing
    assert then > 0
    assert await counted(follower) == then
    assert leader.deposed.is_set()


async def test_whoever_does_not_lead_writes_without_a_fence(leader, follower):
    await follower.database.write(count_up)
    await leader.database.write(count_up)
    assert await counted(leader) == 2


async def test_renewing_its_lease_is_in_no_way_of_the_leaders_transactions(leader):
    def slow(connection):
        connection.execute(sa.text("SELECT pg_sleep(3)"))
        count_up(connection)

    await within(3.9, leader.database.write(slow))
    assert not leader.deposed.is_set()
