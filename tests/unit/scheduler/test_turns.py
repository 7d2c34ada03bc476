"""Taking turns: order, and what it leaves to others."""

import asyncio
from collections import Counter

import pytest

from services.scheduler.usecases.turns import AT_ONCE, Turns


@pytest.fixture
def turns():
    return Turns()


async def test_a_crowd_goes_on_in_its_order_and_few_at_a_time_so_that_others_have_their_turn(turns):
    passes, went = 0, []

    async def go(number):
        await turns.take()
        went.append((number, passes))

    crowd = [asyncio.create_task(go(number)) for number in range(500)]
    while len(went) < 500:
        passes += 1
        await asyncio.sleep(0)
    assert [number for number, _ in went] == list(range(500))
    assert max(Counter(moment for _, moment in went).values()) <= AT_ONCE
    await asyncio.gather(*crowd)


async def test_who_leaves_the_line_is_passed_over(turns):
    *_, leaving, staying = [asyncio.create_task(turns.take()) for _ in range(AT_ONCE + 2)]
    await asyncio.sleep(0)
    leaving.cancel()
    async with asyncio.timeout(5):
        await staying
        await turns.take()
    assert leaving.cancelled()


async def test_where_few_ask_nobody_waits(turns):
    passes = asyncio.create_task(asyncio.sleep(0))
    for _ in range(AT_ONCE):
        await turns.take()
    assert not passes.done()
