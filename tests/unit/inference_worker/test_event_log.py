"""Event logs and presence: late followers miss nothing, and silence is measured from the last call."""

import asyncio

import pytest

from services.chassis.clock import SystemClock
from services.inference_worker.usecases.event_log import EventLog
from services.inference_worker.usecases.presence import Presence


async def test_a_follower_sees_every_event_once_whenever_it_comes():
    log = EventLog(SystemClock())
    log.append("a")
    early = asyncio.create_task(collect(log))
    await asyncio.sleep(0)
    log.append("b")
    log.append("c", last=True)
    assert await early == ["a", "b", "c"] == await collect(log)
    assert await collect(log, after=2) == ["c"]
    assert await collect(log, after=9) == []


async def test_a_slow_follower_misses_nothing():
    log = EventLog(SystemClock())
    follower = log.follow()
    log.append(1)
    assert await anext(follower) == 1
    log.append(2)
    log.append(3, last=True)
    assert [event async for event in follower] == [2, 3]


async def test_nothing_follows_the_last_event():
    log = EventLog(SystemClock())
    log.append(1, last=True)
    with pytest.raises(RuntimeError):
        log.append(2)
    assert await collect(log) == [1]


async def collect(log: EventLog, after: int = 0) -> list:
    return [event async for event in log.follow(after)]


class PatientClock(SystemClock):
    """Sleeping is what makes its time pass."""

    def __init__(self):
        self.seconds = 0.0

    def monotonic(self):
        return self.seconds

    async def sleep(self, seconds):
        self.seconds += seconds


async def test_silence_is_counted_from_the_last_call():
    clock = PatientClock()
    presence = Presence(clock)
    clock.seconds = 40
    presence.heard()
    await presence.until_silent_for(60)
    assert clock.seconds == 100


async def test_an_open_stream_is_never_silent():
    clock = PatientClock()
    presence = Presence(clock)
    with presence.attached():
        clock.seconds = 1000
        assert presence.silent_seconds() == 0
    clock.seconds = 1030
    assert presence.silent_seconds() == 30
