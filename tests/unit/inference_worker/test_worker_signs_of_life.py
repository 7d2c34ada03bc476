"""However long a step, a load or the object store takes, those who follow hear from the worker every few seconds."""

import asyncio
import threading
from itertools import pairwise

import pytest

from services.inference_worker.domain.attempt import AttemptId, Output, Phase
from services.inference_worker.domain.version import StartMoment, StartPhase
from tests.unit.inference_worker.worker_bench import ManualClock, settled

PROMISED_SECONDS = 5.0


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def bench(a_bench, a_version, clock):
    bench = a_bench(clock)
    await bench.load(a_version("svd"))
    return bench


async def a_slow_step(bench, clock, seconds=10.0):
    """An attempt whose first step took so long, and whose second is under way."""
    task = await bench.begin(steps=0)
    await clock.advance(seconds)
    await bench.step(1)
    return task


class Follower:
    """Notes when each event came."""

    def __init__(self, events, clock):
        self.heard = []

        async def follow():
            async for event in events:
                self.heard.append((clock.monotonic(), event))

        self.task = asyncio.create_task(follow())

    @property
    def events(self):
        return [event for _, event in self.heard]

    def longest_silence(self, began, ended):
        times = [began, *(at for at, _ in self.heard if at > began), ended]
        return max(later - earlier for earlier, later in pairwise(times))


async def test_while_a_step_takes_a_minute_its_followers_hear_from_it_every_few_seconds(bench, clock):
    await a_slow_step(bench, clock)
    follower, began = Follower(bench.follow(), clock), clock.monotonic()
    await clock.advance(60)
    assert follower.longest_silence(began, clock.monotonic()) <= PROMISED_SECONDS
    assert [event.seq for event in follower.events] == list(range(1, len(follower.events) + 1))
    silent = [event for at, event in follower.heard if at > began]
    assert {event.message for event in silent} == {"still denoising"}
    assert {(event.reading.phase, event.reading.done_steps, event.result) for event in silent} == {
        (Phase.DENOISING, 1, None)
    }
    follower.task.cancel()


async def test_a_sign_of_life_says_how_long_it_takes_by_now_and_a_step_uses_up_no_more_than_its_own_time(bench, clock):
    await a_slow_step(bench, clock, seconds=10.0)
    follower, first = Follower(bench.follow(), clock), await bench.until(lambda event: event.reading.done_steps == 1)
    await clock.advance(8)
    assert follower.events[-1].reading.eta_seconds_p50 == pytest.approx(first.reading.eta_seconds_p50 - 8)
    assert follower.events[-1].reading.eta_seconds_p90 < first.reading.eta_seconds_p90
    await clock.advance(100)
    assert follower.events[-1].reading.eta_seconds_p50 == pytest.approx(first.reading.eta_seconds_p50 - 10)
    follower.task.cancel()


async def test_an_attempt_that_tells_enough_by_itself_gives_no_signs_of_life(bench, clock):
    await bench.begin(steps=0)
    for step in range(1, 4):
        await clock.advance(3)
        await bench.step(step)
    bench.engine.allow(1)
    last = await bench.until(lambda event: event.reading.done_steps == 4)
    assert last.seq == 1 + 1 + 4  # encoding begins, denoising begins, four steps


async def test_an_attempt_that_waits_for_the_device_is_alive_too(bench, clock):
    await bench.begin(epoch=1, steps=1)
    waiting = await bench.start(epoch=2)
    await clock.advance(60)
    follower = Follower(bench.follow(AttemptId("r1", 2)), clock)
    await settled()
    assert len(follower.events) >= 60 / PROMISED_SECONDS
    assert {event.message for event in follower.events} == {"still encoding"}
    bench.engine.allow(100)
    assert isinstance((await waiting)[-1].result, Output)
    await follower.task


async def test_nothing_comes_after_the_last_event(bench, clock):
    events = await bench.render()
    await settled()
    assert clock.sleepers == 0
    await clock.advance(100)
    assert await bench.render() == events
    assert events[-1].result is not None


async def test_while_the_object_store_takes_its_time_that_is_what_is_told(bench, clock):
    with bench.objects.hanging(lambda key: key.endswith("video.mp4")):
        task = await bench.start()
        await settled()
        await bench.until(lambda event: event.reading.phase is Phase.STORING)
        await clock.advance(9)
        follower = Follower(bench.follow(), clock)
        await settled()
        assert [event.message for event in follower.events[-2:]] == ["waiting for the object store"] * 2
    assert isinstance((await task)[-1].result, Output)
    await follower.task


async def test_a_load_repeats_what_it_told_last(a_bench, a_version, clock, monkeypatch):
    bench, loaded = a_bench(clock), threading.Event()

    def load(_version, report):
        report(StartMoment(StartPhase.WEIGHTS, "loading weights", 1, 2))
        loaded.wait(timeout=60)
        return bench.engine

    monkeypatch.setattr(bench.loader, "load", load)
    began, follower = clock.monotonic(), Follower(bench.worker.load(a_version("svd")), clock)
    while not follower.heard:  # the device's thread comes to it when it comes to it
        await asyncio.sleep(0)
    await clock.advance(60)
    assert follower.longest_silence(began, clock.monotonic()) <= PROMISED_SECONDS
    assert {event.moment for event in follower.events} == {StartMoment(StartPhase.WEIGHTS, "loading weights", 1, 2)}
    loaded.set()
    await follower.task
    assert follower.events[-1].moment.phase is StartPhase.READY
    told = len(follower.events)
    await clock.advance(60)
    assert [event.moment.phase for event in await bench.load(a_version("svd"))] == [StartPhase.READY]
    assert len(follower.events) == told


async def test_a_load_that_waits_for_the_device_is_alive_too(a_bench, a_version, clock):
    bench, free = a_bench(clock), threading.Event()
    busy = asyncio.create_task(bench.device.run(lambda: free.wait(timeout=60)))
    await settled()
    task = asyncio.create_task(bench.load(a_version("svd")))
    await clock.advance(9)
    free.set()
    events = await task
    assert [event.moment.phase for event in events][:2] == [StartPhase.IMPORTS] * 2
    assert events[-1].moment.phase is StartPhase.READY
    await busy
