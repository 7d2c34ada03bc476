"""What the worker promises about attempts and loads, followed step by step."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import av
import obstore
import pytest
from obstore.store import MemoryStore
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from PIL import Image

from services.chassis.clock import SystemClock
from services.chassis.errors import InvalidInput, ServiceUnavailable, Violation
from services.inference_worker.adapters.obstore_objects import ObstoreObjects
from services.inference_worker.adapters.pillow_pictures import PillowPictures
from services.inference_worker.adapters.pyav_video_encoder import PyAvVideoEncoder
from services.inference_worker.adapters.scripted_engine import ScriptedEngine, ScriptedEngineLoader
from services.inference_worker.domain.attempt import (
    Assignment,
    AttemptId,
    Canceled,
    Failure,
    Kept,
    Output,
    PeakMemory,
    Phase,
)
from services.inference_worker.domain.errors import OutOfMemory, StorageFailed, WeightsUnavailable, WorkerBusy
from services.inference_worker.domain.version import StartPhase, WorkerState
from services.inference_worker.usecases import attempt as attempt_module
from services.inference_worker.usecases import worker as worker_module
from services.inference_worker.usecases.serial_thread import SerialThread
from services.inference_worker.usecases.worker import InferenceWorker


class Bench:
    """A worker with a scripted engine and everything around it."""

    def __init__(self) -> None:
        self.engine = ScriptedEngine()
        self.loader = ScriptedEngineLoader(self.engine)
        self.objects = MemoryStore()
        self.device = SerialThread("device")
        self.worker = InferenceWorker(
            "worker-1",
            loader=self.loader,
            encoder=PyAvVideoEncoder(),
            pictures=PillowPictures(),
            objects=ObstoreObjects(self.objects),
            device=self.device,
            clock=SystemClock(),
        )

    async def render(
        self,
        render_id: str = "r1",
        epoch: int = 1,
        after_seq: int = 0,
        checkpoint_key: str | None = None,
        may_make_room: bool = True,
        **inputs: Any,
    ) -> list[Any]:
        assignment = Assignment(
            AttemptId(render_id, epoch),
            inputs,
            f"renders/{render_id}/{epoch}/video.mp4",
            checkpoint_key,
            may_make_room,
        )
        return [event async for event in self.worker.render(assignment, after_seq)]

    def stored(self, key: str) -> bytes:
        return bytes(obstore.get(self.objects, key).bytes())

    def stored_keys(self) -> list[str]:
        return sorted(entry["path"] for entry in obstore.list(self.objects).collect())

    def refuse_to_store(self, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
        """Refuse keys with this part; a full disk cannot be had on cue."""
        put = self.worker._objects.put

        async def refuse(key: str, content: bytes) -> None:
            if part in key:
                raise StorageFailed
            await put(key, content)

        monkeypatch.setattr(self.worker._objects, "put", refuse)

    async def begin(self, render_id: str = "r1", epoch: int = 1, steps: int = 0) -> asyncio.Task[list[Any]]:
        """An attempt that has taken so many steps and waits to be allowed another one."""
        self.engine.hold()
        task = asyncio.create_task(self.render(render_id, epoch, num_inference_steps=4))
        self.engine.allow(steps)
        assignment = Assignment(AttemptId(render_id, epoch), {}, "")
        await asyncio.sleep(0)
        async with aclosing(self.worker.render(assignment)) as events:
            async for event in events:
                if event.reading.phase is Phase.DENOISING and event.reading.done_steps == steps:
                    break
        return task


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints and previews are kept at every step."""
    monkeypatch.setattr(attempt_module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(attempt_module, "PREVIEW_SECONDS", 0.0)


@pytest.fixture
async def bench(a_version) -> AsyncIterator[Bench]:
    bench = Bench()
    async for _ in bench.worker.load(a_version("svd")):
        pass
    yield bench
    bench.engine.allow(1000)
    await bench.worker.stop(grace_seconds=10)
    bench.device.close()


async def test_an_attempt_goes_through_all_phases_and_ends_with_a_stored_video(bench):
    events = await bench.render(num_inference_steps=4)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    phases = list(dict.fromkeys(event.reading.phase for event in events))
    assert phases == list(Phase)
    output = events[-1].result
    assert isinstance(output, Output)
    assert (output.width, output.height, output.num_frames, output.fps) == (64, 64, 5, 7)
    assert list(output.phase_ms) == [phase for phase in Phase if phase is not Phase.DONE]
    assert output.warnings == ("made without arithmetic",)
    assert output.mode == "scripted"
    assert output.peak_memory == {Phase.DENOISING: PeakMemory(1000, 2000)}
    assert output.eta_error is None or output.eta_error >= 0
    assert len(bench.stored(output.key)) == output.size_bytes
    assert events[-1].reading.done_steps == events[-1].reading.total_steps == 4


async def test_only_the_last_event_has_a_result_and_only_it_is_complete(bench):
    events = await bench.render()
    assert [event.result is not None for event in events] == [False] * (len(events) - 1) + [True]
    fractions = [event.reading.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions.index(1.0) == len(fractions) - 1


async def test_asking_again_replays_a_finished_attempt_without_running_it(bench):
    first = await bench.render()
    bench.engine.fails_with = AssertionError("ran twice")
    assert await bench.render() == first
    assert await bench.render(after_seq=3) == first[3:]


async def test_leaving_does_not_stop_an_attempt(bench):
    task = await bench.begin(steps=1)
    task.cancel()
    bench.engine.allow(3)
    events = await bench.render()
    assert isinstance(events[-1].result, Output)


async def test_cancel_takes_effect_within_one_step_and_nothing_is_decoded(bench):
    task = await bench.begin(steps=2)
    await bench.worker.cancel(AttemptId("r1", 1))
    bench.engine.allow(1)
    events = await task
    assert events[-1].result == Canceled()
    assert events[-1].reading.done_steps == 2
    assert {event.reading.phase for event in events} == {Phase.ENCODING, Phase.DENOISING}
    assert not [key for key in bench.stored_keys() if key.endswith(".mp4")]


async def test_after_a_cancel_the_next_render_runs(bench):
    task = await bench.begin(steps=1)
    await bench.worker.cancel(AttemptId("r1", 1))
    bench.engine.allow(100)
    await task
    assert isinstance((await bench.render("r2"))[-1].result, Output)


async def test_canceling_what_is_unknown_or_over_does_nothing(bench):
    await bench.worker.cancel(AttemptId("nobody", 1))
    events = await bench.render()
    await bench.worker.cancel(AttemptId("r1", 1))
    assert await bench.render() == events


async def test_another_render_is_refused_while_one_runs(bench):
    await bench.begin("r1")
    with pytest.raises(WorkerBusy):
        await bench.render("r2")


async def test_a_higher_epoch_stops_the_lower_one_and_takes_its_place(bench):
    old = await bench.begin("r1", epoch=1, steps=1)
    new = asyncio.create_task(bench.render("r1", epoch=2))
    await asyncio.sleep(0)
    bench.engine.allow(100)
    assert (await old)[-1].result == Canceled()
    assert isinstance((await new)[-1].result, Output)
    assert (await bench.worker.status()).running is None


async def test_a_lower_epoch_never_begins_after_a_higher_one(bench):
    await bench.render("r1", epoch=2)
    with pytest.raises(WorkerBusy):
        await bench.render("r1", epoch=1)


@pytest.mark.parametrize(
    ("error", "reason", "retry"),
    [
        (OutOfMemory(), "OUT_OF_MEMORY", True),
        (InvalidInput([Violation("width", "is odd")]), "INVALID_INPUT", False),
        (ValueError("the prompt 'a secret' is odd"), "ENGINE_FAILED", False),
    ],
)
async def test_a_failing_engine_fails_the_attempt_and_nothing_else(bench, error, reason, retry, capsys):
    bench.engine.fails_with = error
    result = (await bench.render())[-1].result
    assert (result.reason, result.retry) == (reason, retry)
    assert "secret" not in result.message
    assert "secret" not in "".join(capsys.readouterr())
    assert isinstance((await bench.render("r2"))[-1].result, Output)


async def test_a_failure_of_the_engine_says_in_which_phase(bench):
    bench.engine.fails_with = ValueError()
    assert (await bench.render())[-1].result.message == "the engine failed while denoising"


async def test_a_store_that_refuses_fails_the_attempt(bench, monkeypatch):
    bench.refuse_to_store(monkeypatch, "")
    result = (await bench.render())[-1].result
    assert (result.reason, result.retry) == ("STORAGE_FAILED", True)


async def test_a_video_does_not_need_its_pieces_previews_and_checkpoints(bench, monkeypatch, often):
    for part in ("pieces", "previews", "checkpoint"):
        bench.refuse_to_store(monkeypatch, part)
    events = await bench.render(num_frames=30)
    assert isinstance(events[-1].result, Output)
    assert {event.kept for event in events} == {Kept()}


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


async def test_checkpoints_are_kept_while_they_are_needed(bench, often):
    events = await bench.render(num_inference_steps=4)
    assert {event.kept.checkpoint_key for event in events} >= {"renders/r1/1/checkpoint.safetensors"}
    assert events[-1].kept.checkpoint_key == ""
    assert not [key for key in bench.stored_keys() if "checkpoint" in key]


async def test_an_attempt_that_failed_leaves_its_newest_checkpoint(bench, often):
    bench.engine.fails_with = ValueError()
    events = await bench.render(num_inference_steps=4)
    assert bench.stored(events[-1].kept.checkpoint_key) == b"4"


async def test_an_attempt_goes_on_from_the_checkpoint_it_is_given(bench):
    obstore.put(bench.objects, "renders/r1/1/checkpoint.safetensors", b"3")
    events = await bench.render(epoch=2, checkpoint_key="renders/r1/1/checkpoint.safetensors", num_inference_steps=5)
    done = [event.reading.done_steps for event in events if event.reading.phase is Phase.DENOISING]
    assert list(dict.fromkeys(done)) == [3, 4, 5]
    assert isinstance(events[-1].result, Output)


@pytest.mark.parametrize(("content", "why"), [(b"rubbish", "damaged"), (None, "could not be read")])
async def test_a_checkpoint_that_does_not_fit_is_left_aside_and_the_sender_is_told(bench, content, why):
    if content:
        obstore.put(bench.objects, "old", content)
    result = (await bench.render(epoch=2, checkpoint_key="old"))[-1].result
    assert "the render began again" in result.warnings[0]
    assert why in result.warnings[0]


async def test_a_render_that_runs_out_of_memory_goes_on_from_its_newest_checkpoint_with_less(bench, often):
    bench.engine.fails_with, bench.engine.has_room_to_make, bench.engine.frames_before_failing = OutOfMemory(), True, 9
    result = (await bench.render(num_frames=20))[-1].result
    assert bench.engine.resumed_from == [None, b"4"]
    assert "ran out of memory" in result.warnings[0]
    with av.open(io.BytesIO(bench.stored(result.key)), "r", format="mp4") as container:
        lightness = [frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]
    assert len(lightness) == 20
    assert result.sha256 == (await bench.render("r2", num_frames=20))[-1].result.sha256
    assert lightness == sorted(lightness)  # each is as light as the one before or lighter: none came twice


@pytest.mark.parametrize(("has_room", "may"), [(False, True), (True, False)])
async def test_without_room_to_make_or_leave_to_do_so_memory_that_is_lacking_fails_the_attempt(bench, has_room, may):
    bench.engine.fails_with, bench.engine.has_room_to_make = OutOfMemory(), has_room
    result = (await bench.render(may_make_room=may))[-1].result
    assert result.reason == "OUT_OF_MEMORY"


async def test_stopping_the_worker_ends_its_attempt_as_one_that_may_be_tried_elsewhere(bench):
    task = await bench.begin(steps=1)
    stopping = asyncio.create_task(bench.worker.stop(grace_seconds=10))
    await asyncio.sleep(0)
    bench.engine.allow(1)
    await stopping
    assert (await task)[-1].result == Failure("WORKER_LOST", "the worker was told to stop before it was done", True)
    with pytest.raises(ServiceUnavailable):
        await bench.render("r2")


async def test_old_attempts_are_forgotten_the_newest_stay_replayable(bench):
    for number in range(worker_module.FINISHED_ATTEMPTS_KEPT + 3):
        await bench.render(f"r{number}", num_frames=1, num_inference_steps=1)
    assert len(bench.worker._attempts) <= worker_module.FINISHED_ATTEMPTS_KEPT + 1


async def test_status_names_the_running_attempt(bench):
    task = await bench.begin("r1", epoch=3)
    status = await bench.worker.status()
    assert (status.worker_id, status.state, status.running) == ("worker-1", WorkerState.READY, AttemptId("r1", 3))
    bench.engine.allow(100)
    await task
    assert (await bench.worker.status()).running is None


async def test_nothing_can_be_rendered_before_a_version_is_loaded():
    bench = Bench()
    assert (await bench.worker.status()).state is WorkerState.EMPTY
    with pytest.raises(WorkerBusy):
        await bench.render()
    bench.device.close()


async def test_loading_what_is_loaded_answers_ready_at_once(bench, a_version):
    events = [event async for event in bench.worker.load(a_version("svd"))]
    assert [event.moment.phase for event in events] == [StartPhase.READY]
    assert events[0].load_ms is not None
    assert bench.loader.loads == 1


async def test_another_version_is_refused(bench, a_version):
    with pytest.raises(WorkerBusy):
        _ = [event async for event in bench.worker.load(a_version("skyreels"))]


async def test_everybody_who_waits_for_a_load_sees_all_of_it(a_version):
    bench = Bench()

    async def follow():
        return [event.moment.phase async for event in bench.worker.load(a_version("svd"))]

    first, second = await asyncio.gather(follow(), follow())
    assert first == second == [StartPhase.IMPORTS, StartPhase.WEIGHTS, StartPhase.READY]
    assert bench.loader.loads == 1
    bench.device.close()


async def test_a_failed_load_says_why_and_can_be_tried_again(a_version):
    bench = Bench()
    bench.loader.fails_with = WeightsUnavailable("no weights here")
    events = [event async for event in bench.worker.load(a_version("svd"))]
    assert events[-1].moment.phase is StartPhase.FAILED
    assert events[-1].failure == Failure("WEIGHTS_UNAVAILABLE", "no weights here", False)
    assert (await bench.worker.status()).state is WorkerState.FAILED
    bench.loader.fails_with = None
    events = [event async for event in bench.worker.load(a_version("svd"))]
    assert events[-1].moment.phase is StartPhase.READY
    bench.device.close()


async def test_every_phase_has_a_span_under_that_of_the_attempt(bench, monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    monkeypatch.setattr(worker_module, "tracer", tracer)
    monkeypatch.setattr(attempt_module, "tracer", tracer)
    with tracer.start_as_current_span("the call") as call:
        await bench.render()
    parents = {span.name: span.parent and span.parent.span_id for span in exporter.get_finished_spans()}
    (attempt,) = (span.context for span in exporter.get_finished_spans() if span.name == "attempt")
    assert attempt is not None
    assert parents.pop("the call") is None
    assert parents.pop("attempt") == call.get_span_context().span_id
    assert parents == dict.fromkeys(["encoding", "denoising", "decoding", "muxing", "storing"], attempt.span_id)
