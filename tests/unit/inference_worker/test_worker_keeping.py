"""What an attempt keeps on its way, and goes on from."""

import asyncio
import io

import av
import obstore
import pytest
from PIL import Image

from services.inference_worker.domain.attempt import Canceled, Kept, Output, Phase
from services.inference_worker.domain.errors import OutOfMemory
from services.inference_worker.usecases import attempt as attempt_module
from tests.unit.inference_worker.worker_bench import EVERY_STEP, FIRST, ManualClock, settled

VIDEO, CHECKPOINT = "renders/r1/1/video.mp4", "renders/r1/1/checkpoint.safetensors"


@pytest.fixture
async def eager(a_bench, a_version):
    """A worker that keeps a checkpoint at every step."""
    bench = a_bench(checkpoint_seconds=EVERY_STEP)
    await bench.load(a_version("svd"))
    return bench


async def test_a_store_that_refuses_fails_the_attempt(bench):
    bench.objects.refuse(lambda _key: True)
    result = (await bench.render())[-1].result
    assert (result.reason, result.retry) == ("STORAGE_FAILED", True)


async def test_a_video_does_not_need_its_pieces_previews_and_checkpoints(eager, monkeypatch):
    monkeypatch.setattr(attempt_module, "PREVIEW_SECONDS", 0.0)
    eager.objects.refuse(lambda key: not key.endswith("video.mp4"))
    events = await eager.render(num_frames=30)
    assert isinstance(events[-1].result, Output)
    assert {event.kept for event in events} == {Kept()}
    for part in ("/pieces/", "/previews/", "/checkpoint."):
        assert any(part in key for key in eager.objects.tries)


async def test_pieces_that_are_told_of_are_there_and_begin_the_video(bench):
    events = await bench.render(num_frames=30)
    told = [event.kept for event in events if "can be played" in event.message]
    assert [(kept.pieces, kept.playable_seconds) for kept in told] == [(1, pytest.approx(16 / 7)), (2, 30 / 7)]
    assert events[-1].kept.pieces == 2
    with av.open(io.BytesIO(bench.stored("renders/r1/1/pieces/00001.mp4")), "r", format="mp4") as container:
        assert len(list(container.decode(video=0))) == 16


async def test_previews_come_at_a_bounded_rate_and_are_small_pictures(bench):
    events = await bench.render(num_inference_steps=50)
    keys = {event.kept.preview_key for event in events} - {""}
    assert keys == {"renders/r1/1/previews/00001.webp"}  # all the steps took less time than must lie between two
    assert Image.open(io.BytesIO(bench.stored(*keys))).format == "WEBP"


async def test_the_newest_checkpoint_is_left_even_when_the_video_is_ready_for_nobody_has_that_on_record_yet(eager):
    events = await eager.render(num_inference_steps=4)
    assert isinstance(events[-1].result, Output)
    assert eager.stored(events[-1].kept.checkpoint_key) == b"4"
    assert [key for key in eager.stored_keys() if "checkpoint" in key] == [CHECKPOINT]


async def test_an_attempt_that_failed_leaves_its_newest_checkpoint(eager):
    eager.engine.fails_with = ValueError()
    events = await eager.render(num_inference_steps=4)
    assert eager.stored(events[-1].kept.checkpoint_key) == b"4"


async def test_an_attempt_goes_on_from_the_checkpoint_it_is_given(bench):
    obstore.put(bench.store, CHECKPOINT, b"3")
    events = await bench.render(epoch=2, checkpoint_key=CHECKPOINT, num_inference_steps=5)
    done = [event.reading.done_steps for event in events if event.reading.phase is Phase.DENOISING]
    assert list(dict.fromkeys(done)) == [3, 4, 5]
    assert isinstance(events[-1].result, Output)


@pytest.mark.parametrize(("content", "why"), [(b"rubbish", "damaged"), (None, "could not be read")])
async def test_a_checkpoint_that_does_not_fit_is_left_aside_and_the_sender_is_told(bench, content, why):
    if content:
        obstore.put(bench.store, "old", content)
    result = (await bench.render(epoch=2, checkpoint_key="old"))[-1].result
    assert "the render began again" in result.warnings[0]
    assert why in result.warnings[0]


async def test_a_render_that_runs_out_of_memory_goes_on_from_its_newest_checkpoint_with_less(eager):
    eager.engine.fails_with, eager.engine.has_room_to_make, eager.engine.frames_before_failing = OutOfMemory(), True, 9
    result = (await eager.render(num_frames=20))[-1].result
    assert eager.engine.resumed_from == [None, b"4"]
    assert "ran out of memory" in result.warnings[0]
    with av.open(io.BytesIO(eager.stored(result.key)), "r", format="mp4") as container:
        lightness = [frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]
    assert len(lightness) == 20
    assert result.sha256 == (await eager.render("r2", num_frames=20))[-1].result.sha256
    assert lightness == sorted(lightness)  # each is as light as the one before or lighter: none came twice


@pytest.mark.parametrize(("has_room", "may"), [(False, True), (True, False)])
async def test_without_room_to_make_or_leave_to_do_so_memory_that_is_lacking_fails_the_attempt(bench, has_room, may):
    bench.engine.fails_with, bench.engine.has_room_to_make = OutOfMemory(), has_room
    result = (await bench.render(may_make_room=may))[-1].result
    assert result.reason == "OUT_OF_MEMORY"


async def test_a_checkpoint_that_could_not_be_stored_is_followed_by_the_next_one(eager):
    eager.objects.refuse(lambda key: key == CHECKPOINT)
    eager.engine.fails_with = ValueError()
    task = await eager.begin(steps=1)
    await eager.objects.until_tried(CHECKPOINT)
    eager.objects.refuse(lambda _key: False)
    eager.engine.allow(3)
    assert eager.stored((await task)[-1].kept.checkpoint_key) == b"4"


@pytest.fixture
async def patient(a_bench, a_version):
    """A worker that asks the object store again for five minutes, as its clock has it."""
    bench = a_bench(ManualClock(), storage_patience_seconds=300)
    await bench.load(a_version("svd"))
    bench.objects.refuse(lambda key: key == VIDEO)
    return bench


async def storing(bench):
    """An attempt whose video is refused."""
    task = await bench.start()
    await bench.until(lambda event: event.reading.phase is Phase.STORING)
    await settled()
    return task


async def test_a_store_that_refuses_the_video_is_asked_again_and_again_at_growing_intervals(patient):
    clock = patient.worker._clock
    task, began, tries = await storing(patient), clock.monotonic(), []
    for _ in range(400):
        tries += [clock.monotonic() - began] * (patient.objects.tries.count(VIDEO) - len(tries))
        await clock.advance(0.125)
    assert tries[:8] == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 15.5, 25.5, 35.5], abs=0.125)
    patient.objects.refuse(lambda _key: False)
    await clock.advance(10)
    output = (await task)[-1].result
    assert isinstance(output, Output)
    assert len(patient.stored(VIDEO)) == output.size_bytes


async def test_only_a_store_that_refuses_for_longer_than_patience_lasts_fails_the_attempt(patient):
    clock = patient.worker._clock
    task = await storing(patient)
    await clock.advance(299)
    assert not task.done()
    assert (await patient.worker.status()).running is not None
    await clock.advance(1)
    result = (await task)[-1].result
    assert (result.reason, result.retry) == ("STORAGE_FAILED", True)


async def test_while_the_store_refuses_followers_are_told_what_is_waited_for(patient):
    task = await storing(patient)
    await patient.worker._clock.advance(60)
    await patient.worker.cancel(FIRST)
    told = [event.message for event in await task if event.reading.phase is Phase.STORING]
    assert told.count("waiting for the object store") >= 12


@pytest.mark.parametrize("refuses", [True, False])
async def test_a_render_can_be_canceled_while_its_video_waits_for_the_store(patient, refuses):
    with patient.objects.hanging(lambda key: key == VIDEO and not refuses):
        task = await storing(patient)
        await patient.worker.cancel(FIRST)
        assert (await asyncio.wait_for(task, 5))[-1].result == Canceled()
    assert isinstance((await patient.render("r2"))[-1].result, Output)


async def test_a_piece_that_the_store_does_not_take_holds_no_cancel_up(bench):
    with bench.objects.hanging(lambda key: "pieces" in key):
        task = await bench.start()
        await bench.until(lambda event: event.reading.phase is Phase.MUXING)
        await bench.worker.cancel(FIRST)
        assert (await task)[-1].result == Canceled()


async def test_a_preview_that_is_never_stored_holds_the_end_up_only_for_a_while(patient):
    patient.objects.refuse(lambda _key: False)
    with patient.objects.hanging(lambda key: "previews" in key):
        task = await patient.start()
        while not task.done():
            await patient.worker._clock.advance(1)
        assert isinstance((await task)[-1].result, Output)


async def test_where_the_store_is_slow_previews_and_checkpoints_take_turns_and_only_the_newest_is_stored(
    eager, monkeypatch
):
    monkeypatch.setattr(attempt_module, "PREVIEW_SECONDS", 0.0)
    first, third = (f"renders/r1/1/previews/0000{step}.webp" for step in (1, 3))
    with eager.objects.hanging(lambda _key: True):
        task = await eager.begin(steps=1)
        await eager.step(2)
        await eager.step(3)
    await eager.objects.until_tried(third)
    assert eager.objects.tries[:3] == [first, CHECKPOINT, third]
    eager.engine.allow(1)
    await task
