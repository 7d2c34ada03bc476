"""What every render store promises."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.chassis.clock import SystemClock
from services.scheduler.__main__ import MIGRATIONS
from services.scheduler.adapters.sql_runtimes import SqlRuntimeStore
from services.scheduler.adapters.sql_store import SqlRenderStore
from services.scheduler.domain.facts import Output, Phase, Progress, Timing
from services.scheduler.domain.fleet import Pin, Target
from services.scheduler.domain.render import RenderStatus
from services.scheduler.domain.runtime import Runtime, RuntimeStatus

LONG_AGO = datetime(1970, 1, 2, tzinfo=UTC)


@pytest.fixture
async def database(tmp_path, open_database):
    async with open_database(tmp_path / "s.sqlite3", MIGRATIONS) as database:
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
    stored = (await store.accept(render, {"prompt": "a cat"}, "accepted", keys_since=LONG_AGO)).render
    assert stored == replace(render, last_seq=1)
    assert await store.get("ann", render.id) == stored
    assert await store.inputs(render.id) == {"prompt": "a cat"}


async def test_a_change_and_its_event_are_one(store, a_render):
    await store.accept(a_render(), {}, "accepted", keys_since=LONG_AGO)

    def fail(render):
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        await store.advance("rnd_1", fail, "never")
    assert len(await store.events("rnd_1", 0, 10)) == 1
    assert await store.advance("rnd_1", lambda render: None, "nothing") is None
    assert len(await store.events("rnd_1", 0, 10)) == 1


async def test_an_attempt_that_lost_its_epoch_changes_nothing(store, a_render):
    await store.accept(a_render(epoch=2), {}, "accepted", keys_since=LONG_AGO)
    assert await store.advance("rnd_1", lambda r: replace(r, phase=Phase.DONE), "zombie", epoch=1) is None
    assert await store.advance("rnd_1", lambda r: replace(r, phase=Phase.DONE), "owner", epoch=2) is not None
    assert [event.message for event in await store.events("rnd_1", 0, 10)] == ["accepted", "owner"]


async def test_many_writers_leave_no_gap_in_the_log(store, a_render):
    await store.accept(a_render(), {}, "accepted", keys_since=LONG_AGO)
    await asyncio.gather(*(store.advance("rnd_1", lambda r: r, str(n)) for n in range(50)))
    assert [event.seq for event in await store.events("rnd_1", 0, 100)] == list(range(1, 52))
    assert [event.seq for event in await store.events("rnd_1", 48, 2)] == [49, 50]


async def test_an_idempotency_key_belongs_to_its_account(store, a_render):
    first = await store.accept(a_render(idempotency_key="k"), {}, "accepted", keys_since=LONG_AGO)
    again = await store.accept(a_render(id="rnd_2", idempotency_key="k"), {}, "accepted", keys_since=LONG_AGO)
    other = await store.accept(
        a_render(id="rnd_3", account="bob", idempotency_key="k"), {}, "accepted", keys_since=LONG_AGO
    )
    assert (again, other.render.id) == (first.render, "rnd_3")
    assert await store.get("ann", "rnd_2") is None
    assert await store.with_key("ann", "k", keys_since=LONG_AGO) == first.render
    assert await store.with_key("ann", None, keys_since=LONG_AGO) is None


async def test_a_key_that_is_no_longer_remembered_makes_a_new_render(store, a_render):
    old = a_render(idempotency_key="k")
    await store.accept(old, {}, "accepted", keys_since=LONG_AGO)
    later = old.created_at + timedelta(seconds=1)
    new = a_render(id="rnd_2", idempotency_key="k", created_at=later)
    assert (await store.accept(new, {}, "accepted", keys_since=later)).render.id == "rnd_2"
    assert await store.advance("rnd_1", lambda render: render, "the old one goes on") is not None
    assert (await store.with_key("ann", "k", keys_since=later)).id == "rnd_2"


async def test_the_key_of_a_retry_is_never_forgotten(store, a_render):
    old = a_render(idempotency_key="retry of rnd_0", retry_of="rnd_0")
    await store.accept(old, {}, "accepted", keys_since=LONG_AGO)
    later = old.created_at + timedelta(days=30)
    again = await store.accept(a_render(id="rnd_2", idempotency_key="retry of rnd_0"), {}, "x", keys_since=later)
    assert again.id == "rnd_1"


async def test_a_lease_is_renewed_by_its_own_epoch_only_and_writes_no_event(store, a_render):
    await store.accept(a_render(status=RenderStatus.RUNNING, epoch=2), {}, "accepted", keys_since=LONG_AGO)
    until = a_render().created_at + timedelta(seconds=30)
    assert not await store.renew("rnd_1", 1, until)
    assert await store.renew("rnd_1", 2, until)
    assert len(await store.events("rnd_1", 0, 10)) == 1
    assert await store.overdue(until) == []
    assert [render.id for render in await store.overdue(until + timedelta(seconds=1))] == ["rnd_1"]


async def test_renders_that_ended_are_found_by_when(store, a_render):
    noon = a_render().created_at
    for minute in (1, 2, 3):
        ended_at = noon + timedelta(minutes=minute)
        render = a_render(id=f"rnd_{minute}", status=RenderStatus.FAILED, ended_at=ended_at)
        await store.accept(render, {}, "accepted", keys_since=LONG_AGO)
    found = await store.ended_since(noon + timedelta(minutes=1))
    assert [render.id for render in found] == ["rnd_2", "rnd_3"]


async def test_the_queue_is_in_the_order_of_acceptance(store, a_render):
    for number in (1, 2, 3):
        await store.accept(a_render(id=f"rnd_{number}"), {}, "accepted", keys_since=LONG_AGO)
    await store.advance("rnd_2", lambda r: replace(r, status=RenderStatus.CANCELED), "canceled")
    assert [r.id for r in await store.with_status(RenderStatus.QUEUED)] == ["rnd_1", "rnd_3"]


async def test_the_outbox_hears_of_every_new_status_within_the_transaction(database, a_render):
    heard = []
    store = SqlRenderStore(
        database, SystemClock(), outboxes=[lambda _, render, event: heard.append((render.id, event.seq))]
    )
    await store.accept(a_render(), {}, "accepted", keys_since=LONG_AGO)
    await store.advance("rnd_1", lambda r: replace(r, phase=Phase.ENCODING), "the same status")
    await store.advance("rnd_1", lambda r: replace(r, status=RenderStatus.CANCELED), "another one")
    assert heard == [("rnd_1", 1), ("rnd_1", 3)]

    def refuse(*_):
        raise RuntimeError("the outbox is broken")

    broken = SqlRenderStore(database, SystemClock(), outboxes=[refuse])
    with pytest.raises(RuntimeError):
        await broken.accept(a_render(id="rnd_2"), {}, "accepted", keys_since=LONG_AGO)
    assert await store.get("ann", "rnd_2") is None


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


async def test_what_was_stored_survives_reopening(tmp_path, open_database, a_render):
    for expected in (None, "rnd_1"):
        async with open_database(tmp_path / "again.sqlite3", MIGRATIONS) as database:
            store = SqlRenderStore(database, SystemClock())
            found = await store.get("ann", "rnd_1")
            assert (found and found.id) == expected
            await store.accept(a_render(idempotency_key="k"), {}, "accepted", keys_since=LONG_AGO)
