"""The ground the simulation stands on: time, kills and pauses behave as those of real processes."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from services.scheduler.domain import render
from tests.simulation.processes import Process
from tests.simulation.promises import TABLE
from tests.simulation.virtual_time import VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


def test_waiting_takes_no_time_and_the_clock_says_it_did(loop: VirtualLoop):
    async def wait() -> float:
        await asyncio.sleep(3600)
        return loop.time()

    assert loop.run_until_complete(wait()) == pytest.approx(3600)


def test_a_killed_process_does_not_even_clean_up(loop: VirtualLoop):
    said: list[str] = []
    process = Process(loop, "doomed")
    process.spawn(_counts(said))

    _pass(loop, 2.5)
    process.kill()
    _pass(loop, 10.0)

    assert said == ["1", "2"]
    assert process.died.done()
    process.dispose()


def test_a_paused_process_does_late_what_was_due(loop: VirtualLoop):
    said: list[str] = []
    process = Process(loop, "slow")
    process.spawn(_counts(said))

    _pass(loop, 1.5)
    process.pause()
    _pass(loop, 60.0)
    assert said == ["1"]
    process.go_on()
    _pass(loop, 0.1)

    assert said == ["1", "2"]
    process.dispose()


def test_when_everybody_waits_for_somebody_else_the_loop_says_so(loop: VirtualLoop):
    with pytest.raises(RuntimeError, match="nothing will ever happen again"):
        loop.run_until_complete(loop.create_future())


def test_the_table_of_moves_is_the_domains():
    assert {source.value: {to.value for to in moves} for source, moves in render._MOVES.items()} == TABLE


async def _counts(said: list[str]) -> None:
    try:
        for number in range(1, 100):
            await asyncio.sleep(1.0)
            said.append(str(number))
    finally:
        said.append("cleaned up")


def _pass(loop: VirtualLoop, seconds: float) -> None:
    waiting: Coroutine[Any, Any, None] = asyncio.sleep(seconds)
    loop.run_until_complete(waiting)
