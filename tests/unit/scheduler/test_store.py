"""What every render store promises."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from services.chassis.clock import SystemClock
from services.chassis.storage import sqlite_database
from services.scheduler.__main__ import MIGRATIONS
from services.scheduler.adapters.sql_store import SqlRenderStore, SqlRuntimeStore
from services.scheduler.domain.fleet import Pin, Target
from services.scheduler.domain.render import Output, Phase, Progress, RenderStatus, Timing
from services.scheduler.domain.runtime import Runtime, RuntimeStatus


@pytest.fixture
async def database(tmp_path):
    async with sqlite_database(tmp_path / "s.sqlite3", MIGRATIONS) as database:
        yield database


@pytest.fixture
def store(database):
    return SqlRenderStore(database, SystemClock())


async def test_a_render_comes_back_as_it_was_stored(store, a_render):
    render = a_render(
        pin=Pin("H200"),
        seed=2**32 - 1,
        trace_context={"traceparent": "00-1-2-3"},
        warnings=("one",),
        phase=Phase.DECODING,
        progress=Progress(3, 4, 0.5, None, 1.5, 2.5),
        target=Target("H200", "eu-north2", True),
        timing=Timing(queued_ms=5),
        output=Output("k", "video/mp4", 1, "ff", 2, 3, 4, 5.0),
    )
    stored = await store.accept(render, {"prompt": "a cat"}, "accepted")
    assert stored == replace(render, last_seq=1)
    assert await store.get("ann", render.id) == stored
    assert await store.inputs(render.id) == {"prompt": "a cat"}


async def test_a_change_and_its_event_are_one(store, a_render):
    await store.accept(a_render(), {}, "accepted")

    def fail(render):
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        await store.advance("rnd_1", fail, "never")
    assert len(await store.events("rnd_1", 0, 10)) == 1
    assert await store.advance("rnd_1", lambda render: None, "nothing") is None
    assert len(await store.events("rnd_1", 0, 10)) == 1


async def test_an_attempt_that_lost_its_epoch_changes_nothing(store, a_render):
    await store.accept(a_render(epoch=2), {}, "accepted")
    assert await store.advance("rnd_1", lambda r: replace(r, phase=Phase.DONE), "zombie", epoch=1) is None
    assert await store.advance("rnd_1", lambda r: replace(r, phase=Phase.DONE), "owner", epoch=2) is not None
    assert [event.message for event in await store.events("rnd_1", 0, 10)] == ["accepted", "owner"]


async def test_many_writers_leave_no_gap_in_the_log(store, a_render):
    await store.accept(a_render(), {}, "accepted")
    await asyncio.gather(*(store.advance("rnd_1", lambda r: r, str(n)) for n in range(50)))
    assert [event.seq for event in await store.events("rnd_1", 0, 100)] == list(range(1, 52))
    assert [event.seq for event in await store.events("rnd_1", 48, 2)] == [49, 50]


async def test_an_idempotency_key_belongs_to_its_account(store, a_render):
    first = await store.accept(a_render(idempotency_key="k"), {}, "accepted")
    again = await store.accept(a_render(id="rnd_2", idempotency_key="k"), {}, "accepted")
    other = await store.accept(a_render(id="rnd_3", account="bob", idempotency_key="k"), {}, "accepted")
    assert (again, other.id) == (first, "rnd_3")
    assert await store.get("ann", "rnd_2") is None


async def test_the_queue_is_in_the_order_of_acceptance(store, a_render):
    for number in (1, 2, 3):
        await store.accept(a_render(id=f"rnd_{number}"), {}, "accepted")
    await store.advance("rnd_2", lambda r: replace(r, status=RenderStatus.CANCELED), "canceled")
    queued = await store.with_status(RenderStatus.QUEUED)
    assert [r.id for r in queued] == ["rnd_1", "rnd_3"]
    assert [await store.queue_position(r) for r in queued] == [1, 2]


async def test_a_runtime_comes_back_as_it_was_saved(database, a_render):
    store = SqlRuntimeStore(database)
    now = a_render().created_at
    runtime = Runtime(
        "rt_1", "alpha", "v1", "slot-0", Target("H200", "eu-north2"), RuntimeStatus.WARM, now, now, address="a:1", pid=7
    )
    await store.save(runtime)
    later = replace(runtime, keep_warm=True, last_used_at=now + timedelta(seconds=1))
    await store.save(later)
    assert await store.all() == [later]
    await store.remove("rt_1")
    assert await store.all() == []


async def test_what_was_stored_survives_reopening(tmp_path, a_render):
    for expected in (None, "rnd_1"):
        async with sqlite_database(tmp_path / "again.sqlite3", MIGRATIONS) as database:
            store = SqlRenderStore(database, SystemClock())
            found = await store.get("ann", "rnd_1")
            assert (found and found.id) == expected
            await store.accept(a_render(idempotency_key="k"), {}, "accepted")
