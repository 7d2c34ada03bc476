"""Renders that pause after a step, to be looked at and gone on from."""

import asyncio
import io

import obstore
import pytest
from PIL import Image

from services.inference_worker.domain.attempt import AttemptId, Canceled, Failure, Output, Paused, Phase
from tests.unit.inference_worker.worker_bench import EVERY_STEP, FIRST, ManualClock, settled

CHECKPOINT = "renders/r1/1/checkpoint.safetensors"


async def test_a_paused_render_leaves_checkpoint_and_preview_of_the_very_step_and_nothing_else(bench):
    events = await bench.render(pause_after_step=3, num_inference_steps=5)
    last = events[-1]
    assert last.result == Paused()
    assert (last.reading.phase, last.reading.done_steps, last.message) == (Phase.DENOISING, 3, "paused")
    assert (last.kept.checkpoint_key, last.kept.preview_key) == (CHECKPOINT, "renders/r1/1/previews/00003.webp")
    assert bench.stored(last.kept.checkpoint_key) == b"3"
    assert Image.open(io.BytesIO(bench.stored(last.kept.preview_key))).format == "WEBP"
    assert {event.reading.phase for event in events} == {Phase.ENCODING, Phase.DENOISING}
    assert not [key for key in bench.stored_keys() if key.endswith(".mp4")]


async def test_a_paused_render_that_goes_on_is_the_one_that_never_paused(bench):
    whole = (await bench.render("r0"))[-1].result
    paused = (await bench.render(pause_after_step=2))[-1]
    events = await bench.render(epoch=2, checkpoint_key=paused.kept.checkpoint_key)
    assert events[-1].result.sha256 == whole.sha256
    assert bench.engine.resumed_from[-1] == b"2"


async def test_after_a_pause_the_next_render_runs(bench):
    await bench.render(pause_after_step=1)
    assert (await bench.worker.status()).running is None
    assert isinstance((await bench.render("r2"))[-1].result, Output)


@pytest.mark.parametrize("step", [4, 5, 100])
async def test_after_the_last_step_nothing_pauses(bench, step):
    assert isinstance((await bench.render(pause_after_step=step, num_inference_steps=4))[-1].result, Output)


@pytest.mark.parametrize(("brought", "step", "pauses_at"), [(1, 3, 3), (2, 2, 3), (3, 1, 4), (4, 2, None)])
async def test_a_render_pauses_after_the_first_step_it_takes_from_there_on(bench, brought, step, pauses_at):
    obstore.put(bench.store, "old", str(brought).encode())
    last = (await bench.render(checkpoint_key="old", pause_after_step=step, num_inference_steps=5))[-1]
    if pauses_at is None:  # the step after the one it was brought to is the last one
        assert isinstance(last.result, Output)
    else:
        assert (last.result, last.reading.done_steps) == (Paused(), pauses_at)


async def test_an_older_checkpoint_that_is_still_on_its_way_does_not_take_the_place_of_the_paused_one(
    a_bench, a_version
):
    clock = ManualClock()
    bench = a_bench(clock, checkpoint_seconds=EVERY_STEP)
    await bench.load(a_version("svd"))
    tries = bench.objects.tries
    with bench.objects.hanging(lambda key: key == CHECKPOINT and tries.count(key) == 1):
        task = await bench.begin(steps=0, pause_after_step=2)
        await clock.advance(1)
        await bench.step(1)
        await bench.objects.until_tried(CHECKPOINT)
        bench.engine.allow(1)
        while bench.device.is_busy:  # its thread comes to the end when it comes to it
            await asyncio.sleep(0)
        await settled()
    assert (await task)[-1].result == Paused()
    assert tries.count(CHECKPOINT) == 2
    assert bench.stored(CHECKPOINT) == b"2"


async def test_a_render_pauses_only_once_its_checkpoint_is_stored(a_bench, a_version):
    clock = ManualClock()
    bench = a_bench(clock, storage_patience_seconds=300)
    await bench.load(a_version("svd"))
    bench.objects.refuse(lambda key: key == CHECKPOINT)
    task = await bench.start(pause_after_step=2)
    await bench.objects.until_tried(CHECKPOINT)
    await clock.advance(60)
    assert not task.done()
    bench.objects.refuse(lambda _key: False)
    await clock.advance(10)
    events = await task
    assert events[-1].result == Paused()
    assert "waiting for the object store" in [event.message for event in events]
    assert bench.stored(CHECKPOINT) == b"2"


async def test_a_render_whose_pause_cannot_be_kept_fails_as_one_that_may_be_tried_elsewhere(a_bench, a_version):
    clock = ManualClock()
    bench = a_bench(clock, storage_patience_seconds=300)
    await bench.load(a_version("svd"))
    bench.objects.refuse(lambda key: key == CHECKPOINT)
    task = await bench.start(pause_after_step=2)
    await bench.objects.until_tried(CHECKPOINT)
    await clock.advance(301)
    result = (await task)[-1].result
    assert isinstance(result, Failure)
    assert (result.reason, result.retry) == ("STORAGE_FAILED", True)


async def test_who_cancels_while_the_pause_is_being_kept_gets_a_canceled_render(bench):
    with bench.objects.hanging(lambda key: key == CHECKPOINT):
        task = await bench.start(pause_after_step=2)
        await bench.objects.until_tried(CHECKPOINT)
        await bench.worker.cancel(FIRST)
        assert (await task)[-1].result == Canceled()


async def test_who_cancels_before_the_step_gets_a_canceled_render(bench):
    task = await bench.begin(steps=1, pause_after_step=2)
    await bench.worker.cancel(AttemptId("r1", 1))
    bench.engine.allow(1)
    assert (await task)[-1].result == Canceled()
    assert bench.stored_keys() == ["renders/r1/1/previews/00001.webp"]
