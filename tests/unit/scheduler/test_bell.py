"""Telling of events: who hears what, in which order, and what it costs those who do not listen."""

import asyncio
import gc
import weakref
from dataclasses import replace

import pytest

from services.scheduler.adapters.bell import KEPT_EVENTS, LocalBell
from services.scheduler.domain.render import snapshot

SOON = 60.0


@pytest.fixture
def bell():
    return LocalBell()


@pytest.fixture
def an_event(a_render):
    """An event with the given number."""
    return lambda seq: replace(snapshot(a_render(), a_render().created_at, ""), seq=seq)


async def all_told(listener):
    """The numbers of all that was told and not heard yet."""
    found = []
    while (event := await listener.next(0)) is not None:
        found.append(event.seq)
    return found


async def test_an_event_is_told_to_all_who_listen_for_its_render_and_to_nobody_else(bell, an_event):
    with bell.listening("a") as ann, bell.listening("a") as bob, bell.listening("b") as cat:
        waiting = [asyncio.create_task(listener.next(SOON)) for listener in (ann, bob)]
        await asyncio.sleep(0)
        bell.ring("a", an_event(1))
        assert [event.seq for event in await asyncio.gather(*waiting)] == [1, 1]
        assert await all_told(cat) == []


async def test_what_is_told_while_nobody_waits_is_heard_later_in_order(bell, an_event):
    with bell.listening("a") as listener:
        for seq in (1, 2, 3):
            bell.ring("a", an_event(seq))
        assert await all_told(listener) == [1, 2, 3]


async def test_listening_begins_with_what_is_told_next(bell, an_event):
    with bell.listening("a"):
        bell.ring("a", an_event(1))
        with bell.listening("a") as late:
            bell.ring("a", an_event(2))
            assert await all_told(late) == [2]


async def test_who_falls_too_far_behind_hears_the_newest_and_goes_on_from_there(bell, an_event):
    with bell.listening("a") as slow, bell.listening("a") as slower:
        for seq in range(1, KEPT_EVENTS + 1):
            bell.ring("a", an_event(seq))
        assert await all_told(slow) == list(range(1, KEPT_EVENTS + 1))
        bell.ring("a", an_event(KEPT_EVENTS + 1))
        assert await all_told(slower) == [KEPT_EVENTS + 1]
        bell.ring("a", an_event(KEPT_EVENTS + 2))
        assert await all_told(slow) == [KEPT_EVENTS + 1, KEPT_EVENTS + 2]
        assert await all_told(slower) == [KEPT_EVENTS + 2]


async def test_however_many_listen_and_never_wait_a_render_keeps_only_its_newest_events(bell, an_event):
    def tell(seq):
        event = an_event(seq)
        bell.ring("a", event)
        return weakref.ref(event)

    with bell.listening("a"), bell.listening("a"):
        told = [tell(seq) for seq in range(1, KEPT_EVENTS + 11)]
        gc.collect()
        assert [event() is None for event in told] == [True] * 10 + [False] * KEPT_EVENTS


async def test_nothing_is_kept_once_nobody_listens(bell, an_event):
    event = an_event(1)
    told = weakref.ref(event)
    with bell.listening("a") as listener:
        waiting = asyncio.create_task(listener.next(SOON))
        await asyncio.sleep(0)
        waiting.cancel()
        bell.ring("a", event)
        await asyncio.wait({waiting})
    bell.ring("a", event)
    del event, waiting, listener
    gc.collect()
    assert told() is None


async def test_who_leaves_is_forgotten_although_others_stay(bell):
    with bell.listening("a"):
        with bell.listening("a") as leaving:
            waiting = asyncio.create_task(leaving.next(SOON))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait({waiting})
        left = weakref.ref(leaving)
        del leaving, waiting
        gc.collect()
        assert left() is None


async def test_hearing_takes_all_that_was_told(bell, an_event):
    with bell.listening("a") as listener:
        bell.ring("a", an_event(1))
        bell.ring("a", an_event(2))
        assert await listener.heard(SOON)
        assert not await listener.heard(0)
        assert await all_told(listener) == []


async def test_silence_is_heard_when_it_has_lasted_as_long_as_asked(bell, open_clockwork):
    with bell.listening("a") as one, bell.listening("a") as other:
        waiting = [asyncio.create_task(listening) for listening in (one.next(15), other.heard(15))]
        await asyncio.sleep(14.9)
        assert not any(task.done() for task in waiting)
        await asyncio.sleep(0.2)
        assert [task.result() for task in waiting] == [None, False]


async def test_a_listener_who_leaves_while_waiting_takes_nothing_from_the_others(bell, an_event):
    with bell.listening("a") as leaving, bell.listening("a") as staying:
        waiting = [asyncio.create_task(listener.next(SOON)) for listener in (leaving, staying)]
        await asyncio.sleep(0)
        bell.ring("a", an_event(1))
        waiting[0].cancel()
        async with asyncio.timeout(5):
            assert (await waiting[1]).seq == 1
