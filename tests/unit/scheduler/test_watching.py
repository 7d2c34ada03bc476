"""Watching renders: what every watcher sees, whatever is missed, and what watchers cost the store."""

import asyncio
import random
from collections import Counter
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from services.scheduler.adapters.bell import KEPT_EVENTS
from services.scheduler.domain.errors import RenderNotFound
from services.scheduler.domain.facts import Phase
from services.scheduler.domain.render import RenderStatus
from services.scheduler.usecases.turns import AT_ONCE
from services.scheduler.usecases.watching import BATCH


def once_each(first, last):
    return [(seq, False) for seq in range(first, last + 1)]


async def test_a_watcher_gets_what_was_and_then_what_comes_until_the_last_event(stage):
    await stage.fill(3)
    watcher = stage.watcher()
    await stage.settle()
    await stage.step(2)
    await stage.end()
    assert await watcher == once_each(1, 7)


async def test_a_watcher_goes_on_after_the_event_it_has(stage):
    await stage.fill(BATCH + 10)
    await stage.end()
    for after_seq in (0, 1, 40, BATCH + 10):
        async with asyncio.timeout(1):
            assert await stage.collected(after_seq) == once_each(after_seq + 1, BATCH + 12)


async def test_after_the_last_event_there_is_nothing_to_watch(stage):
    await stage.end()
    asked = stage.store.asked.total()
    assert await stage.collected(stage.render.last_seq) == []
    assert stage.store.asked.total() == asked


async def test_a_watcher_whose_render_ends_as_it_begins_gets_the_end(stage):
    before = stage.render
    await stage.end()
    events = stage.watching.follow(before, 1)
    assert [event.status async for event in events] == [RenderStatus.EXPIRED]


@pytest.mark.parametrize("seed", range(25))
async def test_every_event_comes_once_and_in_order_however_it_is_told(stage, seed):
    rng = random.Random(seed)
    pace = rng.choice([0.0, 0.01, 0.2])

    async def watch(after_seq, pace):
        seen = []
        async with aclosing(stage.follow(after_seq)) as events:
            async for event in events:
                if not event.keep_alive:
                    seen.append(event)
                await asyncio.sleep(rng.uniform(0, pace))
        return after_seq, seen

    async def tell(event):
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            await asyncio.sleep(rng.choice([0, 0, 0.03, 0.3]))
            stage.bell.ring(stage.render.id, event)

    watchers, telling = [], []
    for _ in range(rng.randint(5, 3 * KEPT_EVENTS)):
        if rng.random() < 0.1:
            watchers.append(asyncio.create_task(watch(rng.randint(0, stage.render.last_seq), pace)))
        event = await stage.store_change(lambda render: replace(render, worker_seq=render.worker_seq + 1))
        telling.append(asyncio.create_task(tell(event)))
        await asyncio.sleep(rng.choice([0, 0, 0.02]))
    await tell(await stage.store_change(stage.ended))
    await asyncio.gather(*telling)
    for after_seq, seen in await asyncio.gather(*watchers):
        assert seen == stage.log[after_seq:]


async def test_new_events_cost_the_store_nothing_however_many_watch(stage):
    watchers = [stage.watcher() for _ in range(300)]
    await stage.settle()
    stage.store.asked.clear()
    await stage.step(KEPT_EVENTS)
    await stage.end()
    for watcher in watchers:
        assert await watcher == once_each(1, KEPT_EVENTS + 2)
    assert stage.store.asked.total() == 0


async def test_those_who_come_at_the_same_time_read_the_log_together(stage):
    await stage.fill(10)
    stage.store.asked.clear()
    watchers = [stage.watcher() for _ in range(300)]
    await stage.settle()
    assert stage.store.asked["events"] <= 2
    await stage.end()
    assert {tuple(await watcher) for watcher in watchers} == {tuple(once_each(1, 12))}


async def test_who_comes_while_others_read_sees_what_happened_since_they_asked(stage):
    answers = asyncio.Event()

    async def held_up(*question, events=stage.store.events):
        found = await events(*question)
        await answers.wait()
        return found

    stage.store.events = held_up
    early = asyncio.create_task(anext(stage.follow(1)))
    await stage.settle()
    await stage.fill(1)  # nobody is told
    late = asyncio.create_task(anext(stage.follow(1)))
    await stage.settle()
    answers.set()
    async with asyncio.timeout(1):
        assert (await late).seq == 2
    assert not early.done(), "its answer was older"
    early.cancel()


async def test_who_leaves_while_others_read_with_him_takes_nothing_from_them(stage):
    await stage.fill(10)
    await stage.end()
    leaving, *staying = [stage.watcher(after_seq=1) for _ in range(3)]
    await asyncio.sleep(0.0001)
    leaving.cancel()
    for watcher in staying:
        assert await watcher == once_each(2, 12)


async def test_what_happens_while_a_watcher_reads_the_log_is_not_missed(stage):
    for moment in range(40):
        reading = asyncio.create_task(anext(stage.follow(stage.render.last_seq)))
        await asyncio.sleep(moment / 1000)
        await stage.step()
        async with asyncio.timeout(1):
            assert (await reading).seq == stage.render.last_seq


async def test_a_watcher_that_stops_reading_holds_up_nobody_and_goes_on_from_the_store(stage):
    async with aclosing(stage.follow()) as stuck:
        await anext(stuck)
        other = stage.watcher()
        await stage.settle()
        stage.store.asked.clear()
        async with asyncio.timeout(10):
            await stage.step(4 * KEPT_EVENTS)
            await stage.end()
            assert await other == once_each(1, 4 * KEPT_EVENTS + 2)
        assert stage.store.asked.total() == 0
        assert [event.seq async for event in stuck] == list(range(2, 4 * KEPT_EVENTS + 3))
        assert stage.store.asked["events"] <= 4 * KEPT_EVENTS / BATCH + 1


async def test_a_watcher_hears_something_at_least_every_fifteen_seconds(stage):
    await stage.run()
    async with aclosing(stage.follow(2)) as events:
        began = stage.clock.monotonic()
        for number in (1, 2, 3):
            sign = await anext(events)
            assert (sign.seq, sign.keep_alive, sign.status) == (2, True, RenderStatus.RUNNING)
            assert stage.clock.monotonic() - began == pytest.approx(15 * number, abs=0.5)
        await asyncio.sleep(7)
        await stage.step()
        assert (await anext(events)).keep_alive is False
        began = stage.clock.monotonic()
        assert (await anext(events)).keep_alive is True
        assert stage.clock.monotonic() - began == pytest.approx(15, abs=0.5)


async def test_signs_of_life_are_looked_up_once_for_all_who_watch(stage):
    await stage.run()
    watchers = [stage.watcher(2) for _ in range(300)]
    await stage.settle()
    stage.store.asked.clear()
    await asyncio.sleep(16)
    assert 0 < stage.store.asked["get"] <= 300 / AT_ONCE + 1
    await stage.end()
    for watcher in watchers:
        assert await watcher == [(2, True), (3, False)]


@pytest.mark.parametrize("what", ["a new event", "the log", "a sign of life"])
async def test_few_of_a_crowd_are_served_at_once_so_that_others_have_their_turn(stage, what):
    await stage.run()
    loop: Any = asyncio.get_running_loop()
    passes, served = 0, []

    def counted(timeout, select=loop._selector.select):
        nonlocal passes
        passes += 1
        return select(timeout)

    async def watch():
        async with aclosing(stage.follow(0 if what == "the log" else 2)) as events:
            await anext(events)
            served.append(passes)

    loop._selector.select = counted
    watchers = [asyncio.create_task(watch()) for _ in range(200)]
    await stage.settle()
    if what == "a new event":
        await stage.step()
    await asyncio.gather(*watchers)
    assert len(served) == 200
    assert max(Counter(served).values()) <= AT_ONCE


async def test_an_event_nobody_told_of_is_found_within_fifteen_seconds(stage):
    await stage.run()
    watcher = stage.watcher()
    await stage.settle()
    await stage.store_change(stage.ended)
    async with asyncio.timeout(16):
        assert await watcher == once_each(1, 3)


async def test_a_watcher_in_the_queue_is_told_every_five_seconds_that_its_place_has_changed(stage):
    async with aclosing(stage.follow(1)) as events:
        began = stage.clock.monotonic()
        told = []
        for position in (3, 2, 1):
            stage.position = position
            sign = await anext(events)
            assert (sign.seq, sign.keep_alive) == (1, True)
            told.append((sign.progress.queue_position, round(stage.clock.monotonic() - began)))
        assert told == [(3, 5), (2, 10), (1, 15)]
        assert (await anext(events)).progress.queue_position == 1
        assert round(stage.clock.monotonic() - began) == 30, "nothing changed: only the sign that is due"


async def test_a_changed_place_in_the_queue_is_looked_up_without_the_store(stage):
    async with aclosing(stage.follow(1)) as events:
        stage.position = 3
        reading = asyncio.create_task(anext(events))
        await stage.settle()
        stage.store.asked.clear()
        assert (await reading).progress.queue_position == 3
        assert stage.store.asked.total() == 0


async def test_a_render_that_is_queued_again_has_its_new_place_told(stage):
    await stage.run()
    async with aclosing(stage.follow(2)) as events:
        reading = asyncio.create_task(anext(events))
        await stage.settle()
        await stage.change(lambda render: replace(render, status=RenderStatus.QUEUED, phase=Phase.QUEUED))
        assert (await reading).status is RenderStatus.QUEUED
        stage.position, began = 9, stage.clock.monotonic()
        sign = await anext(events)
        assert (sign.seq, sign.keep_alive, sign.progress.queue_position) == (3, True, 9)
        assert stage.clock.monotonic() - began == pytest.approx(5, abs=0.5)


async def test_a_paused_render_goes_on_being_watched(stage):
    await stage.run()
    await stage.change(lambda render: replace(render, status=RenderStatus.PAUSED))
    async with aclosing(stage.follow()) as events:
        assert [(await anext(events)).status for _ in range(3)] == ["queued", "running", "paused"]
        sign = await anext(events)
        assert (sign.keep_alive, sign.status) == (True, RenderStatus.PAUSED)
        await stage.change(lambda render: render.continued(0, stage.clock.now()))
        await stage.end()
        assert [event.status async for event in events] == ["queued", "expired"]


async def test_a_watcher_that_leaves_is_forgotten(stage):
    told = []
    stage.bell.ring = lambda render_id, event, ring=stage.bell.ring: (told.append(event), ring(render_id, event))
    leaving = stage.follow()
    await anext(leaving)
    waiting = asyncio.create_task(anext(leaving))
    await stage.settle()
    waiting.cancel()
    await asyncio.wait({waiting})
    with pytest.raises(StopAsyncIteration):
        await anext(leaving)
    staying = stage.watcher()
    await stage.step()
    await stage.end()
    assert await staying == once_each(1, 3)
    assert len(told) == 2


async def test_a_render_that_is_gone_cannot_be_watched_on(stage):
    await stage.run()
    events = stage.follow(2)
    stage.store.get = lambda *_: asyncio.sleep(0)
    with pytest.raises(RenderNotFound):
        await anext(events)
