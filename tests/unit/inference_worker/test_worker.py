"""What the worker promises about attempts, followed step by step."""

import asyncio

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.chassis.errors import InvalidInput, Violation
from services.inference_worker.domain.attempt import AttemptId, Canceled, Output, PeakMemory, Phase
from services.inference_worker.domain.errors import OutOfMemory, WorkerBusy
from services.inference_worker.domain.version import WorkerState
from services.inference_worker.usecases import spans as spans_module
from services.inference_worker.usecases import worker as worker_module


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


async def test_a_cancel_that_overtakes_its_render_counts_and_the_device_does_nothing(bench):
    await bench.worker.cancel(AttemptId("r1", 1))
    events = await bench.render()
    assert events[-1].result == Canceled()
    assert events[-1].reading.done_steps == 0
    assert isinstance((await bench.render(epoch=2))[-1].result, Output)


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


async def test_every_phase_has_a_span_under_that_of_the_schedulers_attempt(bench, monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    monkeypatch.setattr(spans_module, "tracer", tracer)
    context = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    await bench.render(trace_context=context, num_inference_steps=4)
    found = {span.name: span for span in exporter.get_finished_spans()}
    parents = {name: span.parent and f"{span.parent.span_id:016x}" for name, span in found.items()}
    assert parents == dict.fromkeys(["encoding", "denoising", "decoding", "muxing", "storing"], "cd" * 8)
    assert all((span.attributes or {})["forge.render_id"] == "r1" for span in found.values())
    assert (found["denoising"].attributes or {})["forge.done_steps"] == 4


async def test_an_attempt_outside_a_trace_has_no_spans(bench, monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans_module, "tracer", provider.get_tracer("test"))
    await bench.render()
    assert not exporter.get_finished_spans()
