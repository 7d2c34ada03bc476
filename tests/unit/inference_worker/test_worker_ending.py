"""A worker that is told to end gives its attempt back with a checkpoint, or lets it finish, and begins nothing new."""

import asyncio

import pytest

from services.chassis.errors import Kind
from services.inference_worker.config import WorkerSettings
from services.inference_worker.domain.attempt import Canceled, Failure, Output, Paused, Phase
from services.inference_worker.domain.errors import WorkerStopping
from tests.unit.inference_worker.worker_bench import EVERY_STEP, FIRST, ManualClock, settled

STOPPING = Failure("WORKER_STOPPING", "the worker was told to end; the render can go on elsewhere", retry=True)
CHECKPOINT = "renders/r1/1/checkpoint.safetensors"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def bench(a_bench, a_version, clock):
    bench = a_bench(clock, storage_patience_seconds=300)
    await bench.load(a_version("svd"))
    return bench


async def stopping(bench, grace_seconds=10.0):
    task = asyncio.create_task(bench.worker.stop(grace_seconds))
    await settled()
    return task


async def test_the_attempt_stops_after_its_next_step_with_a_checkpoint_of_that_step(bench):
    task = await bench.begin(steps=1)
    ending = await stopping(bench)
    assert not task.done()
    bench.engine.allow(1)
    last = (await task)[-1]
    assert last.result == STOPPING
    assert (last.reading.done_steps, last.kept.checkpoint_key) == (2, CHECKPOINT)
    assert bench.stored(CHECKPOINT) == b"2"
    await ending


async def test_what_it_gave_back_goes_on_elsewhere_as_if_nothing_had_been(bench, a_bench, a_version):
    other = a_bench()
    await other.load(a_version("svd"))
    whole = (await other.render("r0"))[-1].result
    task = await bench.begin(steps=1)
    await stopping(bench)
    bench.engine.allow(1)
    await task
    await other.objects.put("given back", bench.stored(CHECKPOINT))
    events = await other.render(epoch=2, checkpoint_key="given back")
    assert events[-1].result.sha256 == whole.sha256
    assert other.engine.resumed_from[-1] == b"2"


async def test_nothing_new_begins_but_who_asks_for_what_is_known_gets_it(bench, a_version):
    done = await bench.render("r0")
    task = await bench.begin(steps=1)
    await stopping(bench)
    for call in (bench.render("r2"), bench.render(epoch=2)):
        with pytest.raises(WorkerStopping) as caught:
            await call
        assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "WORKER_STOPPING")
    assert await bench.render("r0") == done
    assert (await bench.worker.status()).running == FIRST
    bench.engine.allow(1)
    assert await bench.render() == await task


async def test_a_worker_that_ends_loads_nothing(a_bench, a_version):
    bench = a_bench()
    await bench.worker.stop(grace_seconds=1)
    with pytest.raises(WorkerStopping):
        await bench.load(a_version("svd"))


async def test_an_attempt_that_has_taken_its_last_step_may_finish(bench, clock):
    with bench.objects.hanging(lambda key: key.endswith("video.mp4")):
        task = await bench.start()
        await bench.until(lambda event: event.reading.phase is Phase.STORING)
        ending = await stopping(bench)
        await clock.advance(5)
        assert not task.done()
    assert isinstance((await task)[-1].result, Output)
    await ending


async def test_an_attempt_that_does_not_finish_in_time_stops_where_it_is_before_the_grace_is_over(a_bench, a_version):
    clock = ManualClock()
    bench = a_bench(clock, checkpoint_seconds=EVERY_STEP)
    await bench.load(a_version("svd"))
    with bench.objects.hanging(lambda key: key.endswith("video.mp4")):
        task = await bench.begin(steps=0)
        await clock.advance(1)
        await bench.step(1)
        bench.engine.allow(100)
        await bench.until(lambda event: event.reading.phase is Phase.STORING)
        ending = await stopping(bench, grace_seconds=10)
        await clock.advance(9.9)
        last = (await task)[-1]
        await asyncio.wait_for(ending, 5)
    assert last.result == STOPPING
    assert last.kept.checkpoint_key == CHECKPOINT  # of an earlier step: there was no later one


async def test_the_worker_waits_no_longer_than_its_grace_for_a_step_without_end(bench, clock):
    task = await bench.begin(steps=1)
    ending = await stopping(bench, grace_seconds=10)
    await clock.advance(9.9)
    assert not ending.done()
    await clock.advance(0.1)
    assert ending.done()
    bench.engine.allow(1)
    last = (await task)[-1]
    assert (last.result, last.kept.checkpoint_key) == (STOPPING, "")


async def test_a_checkpoint_that_cannot_be_stored_holds_the_end_up_no_longer_than_the_grace(bench, clock):
    bench.objects.refuse(lambda key: key == CHECKPOINT)
    task = await bench.begin(steps=1)
    ending = await stopping(bench, grace_seconds=10)
    bench.engine.allow(1)
    await bench.objects.until_tried(CHECKPOINT)
    await clock.advance(10)
    assert ending.done()
    last = (await task)[-1]
    assert (last.result, last.kept.checkpoint_key) == (STOPPING, "")


async def test_who_cancels_while_the_worker_ends_gets_a_canceled_render(bench):
    task = await bench.begin(steps=1)
    await stopping(bench)
    await bench.worker.cancel(FIRST)
    bench.engine.allow(1)
    assert (await task)[-1].result == Canceled()


async def test_a_render_that_pauses_at_that_step_anyway_is_paused(bench):
    task = await bench.begin(steps=1, pause_after_step=2)
    await stopping(bench)
    bench.engine.allow(1)
    assert (await task)[-1].result == Paused()


async def test_an_idle_worker_ends_at_once(bench, clock):
    await bench.render()
    began = clock.monotonic()
    await bench.worker.stop(grace_seconds=10)
    assert clock.monotonic() == began


async def test_a_worker_nobody_calls_is_orphaned_but_not_one_that_somebody_follows(bench, clock):
    follower = await bench.begin(steps=1)
    orphaned = asyncio.create_task(bench.worker.until_orphaned(30))
    await clock.advance(100)
    assert not orphaned.done()
    follower.cancel()
    await settled()
    await clock.advance(29)
    assert not orphaned.done()
    await clock.advance(1.1)
    assert orphaned.done()
    assert (await bench.worker.status()).running == FIRST


def test_a_worker_stays_as_long_as_a_scheduler_believes_it_alive_and_keeps_a_checkpoint_every_five_seconds(monkeypatch):
    settings = WorkerSettings()
    assert settings.worker_orphan_timeout_seconds == 30
    assert settings.worker_checkpoint_seconds == 5
    assert settings.worker_storage_patience_seconds == 300
    for name in ("WORKER_CHECKPOINT_SECONDS", "WORKER_ORPHAN_TIMEOUT_SECONDS"):
        monkeypatch.setenv(f"FORGE_{name}", "0")
        with pytest.raises(ValueError, match="greater than 0"):
            WorkerSettings()
        monkeypatch.delenv(f"FORGE_{name}")
