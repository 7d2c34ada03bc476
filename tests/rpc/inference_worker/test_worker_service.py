"""The worker's contract over gRPC."""

import asyncio
from typing import Any

import grpc
import pytest
from forge.worker.v1 import worker_service_pb2 as pb
from grpc import aio

from services.chassis.status import to_error


async def all_of(call: Any) -> list[Any]:
    return [event async for event in call]


async def until(call: Any, condition: Any) -> Any:
    async for event in call:
        if condition(event):
            return event
    raise AssertionError("the stream ended first")


@pytest.fixture
async def loaded(worker, load_request):
    events = await all_of(worker.stub.Load(load_request()))
    assert events[-1].phase == "ready"
    return worker


async def test_a_load_streams_its_phases_and_ends_ready(worker, load_request):
    events = await all_of(worker.stub.Load(load_request()))
    assert [event.phase for event in events] == ["imports", "weights", "ready"]
    assert events[1].total_bytes == 1
    assert not events[0].HasField("total_bytes")
    assert [event.HasField("load_ms") for event in events] == [False, False, True]


async def test_a_render_streams_numbered_events_and_ends_with_its_video(loaded, render_request):
    events = await all_of(loaded.stub.Render(render_request(num_frames=9, num_inference_steps=3, fps=24)))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.WhichOneof("result") for event in events] == [None] * (len(events) - 1) + ["output"]
    last = events[-1]
    assert (last.phase, last.done_steps, last.total_steps, last.fraction) == ("done", 3, 3, 1.0)
    assert (last.output.media_type, last.output.num_frames, last.output.fps) == ("video/mp4", 9, 24)
    assert set(last.output.phase_ms) == {"encoding", "denoising", "decoding", "muxing", "storing"}
    assert list(last.output.warnings) == ["made without arithmetic"]


async def test_a_dropped_stream_resumes_after_the_last_event_it_saw(loaded, render_request):
    loaded.engine.hold()
    first = loaded.stub.Render(render_request(num_inference_steps=4))
    loaded.engine.allow(2)
    seen = await until(first, lambda event: event.done_steps == 2)
    first.cancel()
    loaded.engine.allow(2)
    rest = await all_of(loaded.stub.Render(render_request(after_seq=seen.seq)))
    assert rest[0].seq == seen.seq + 1
    assert rest[-1].HasField("output")


async def test_two_watchers_see_the_same(loaded, render_request):
    both = await asyncio.gather(*(all_of(loaded.stub.Render(render_request())) for _ in range(2)))
    assert both[0] == both[1]


async def test_cancel_ends_the_stream_with_canceled(loaded, render_request):
    loaded.engine.hold()
    call = loaded.stub.Render(render_request(num_inference_steps=4))
    loaded.engine.allow(1)
    await until(call, lambda event: event.done_steps == 1)
    await loaded.stub.Cancel(pb.CancelRequest(render_id="r1", epoch=1))
    loaded.engine.allow(1)
    last = (await all_of(call))[-1]
    assert last.HasField("canceled")
    assert last.phase == "denoising"


async def test_a_failed_attempt_is_an_event_not_an_error_of_the_call(loaded, render_request):
    loaded.engine.fails_with = ValueError("never shown")
    last = (await all_of(loaded.stub.Render(render_request())))[-1]
    assert (last.failure.reason, last.failure.retry) == ("ENGINE_FAILED", False)
    assert "never shown" not in last.failure.message


async def test_a_worker_that_is_busy_says_so(loaded, render_request, load_request):
    loaded.engine.hold()
    running = loaded.stub.Render(render_request("r1"))
    await until(running, lambda event: event.phase == "denoising")
    for call in (loaded.stub.Render(render_request("r2")), loaded.stub.Load(load_request("other"))):
        with pytest.raises(aio.AioRpcError) as caught:
            await all_of(call)
        assert caught.value.code() is grpc.StatusCode.ABORTED
        assert to_error(caught.value, "worker").reason == "WORKER_BUSY"
    status = await loaded.stub.GetWorkerStatus(pb.GetWorkerStatusRequest())
    assert (status.state, status.slug, status.model_version, status.render_id, status.epoch) == (
        "ready",
        "svd",
        "v1",
        "r1",
        1,
    )
    running.cancel()


async def test_a_render_pauses_where_it_is_told_to_and_goes_on_from_there(loaded, render_request):
    last = (await all_of(loaded.stub.Render(render_request(pause_after_step=2, num_inference_steps=4))))[-1]
    assert last.HasField("paused")
    assert (last.done_steps, last.phase) == (2, "denoising")
    assert last.preview_key.endswith("/previews/00002.webp")
    again = render_request(epoch=2, checkpoint_key=last.checkpoint_key, num_inference_steps=4)
    assert (await all_of(loaded.stub.Render(again)))[-1].HasField("output")
    assert loaded.engine.resumed_from == [None, b"2"]


async def test_a_worker_that_ends_gives_its_attempt_back_and_takes_no_other(loaded, render_request):
    loaded.engine.hold()
    running = loaded.stub.Render(render_request("r1"))
    await until(running, lambda event: event.phase == "denoising")
    stopping = asyncio.create_task(loaded.worker.stop(30))
    await asyncio.sleep(0)
    with pytest.raises(aio.AioRpcError) as caught:
        await all_of(loaded.stub.Render(render_request("r2")))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert to_error(caught.value, "worker").reason == "WORKER_STOPPING"
    loaded.engine.allow(1)
    last = (await all_of(running))[-1]
    assert (last.failure.reason, last.failure.retry, last.done_steps) == ("WORKER_STOPPING", True, 1)
    assert last.checkpoint_key
    await stopping


async def test_an_empty_worker_says_so(worker):
    status = await worker.stub.GetWorkerStatus(pb.GetWorkerStatusRequest())
    assert (status.worker_id, status.state, status.slug, status.render_id, status.epoch) == (
        "worker-1",
        "empty",
        "",
        "",
        0,
    )
