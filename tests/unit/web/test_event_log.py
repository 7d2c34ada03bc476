"""Reading a render's log up to the present, from a stream that would go on."""

from __future__ import annotations  # grpc classes are generic in their stubs only

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest
from forge.scheduler.v1 import render_pb2, render_service_pb2, render_service_pb2_grpc

from services.chassis.clients import channel
from services.chassis.errors import ForgeError, Kind
from services.chassis.identity import Caller
from services.chassis.server import Mount, serving
from services.web.adapters.event_log import log_up_to

CALLER = Caller("studio", "key_1", frozenset({"read"}))
SERVICE = render_service_pb2.DESCRIPTOR.services_by_name["RenderService"]


class Stream(render_service_pb2_grpc.RenderServiceServicer):
    """Tells events, and then nothing more."""

    def __init__(self, events: Sequence[render_pb2.RenderEvent], error: ForgeError | None = None) -> None:
        self._events = events
        self._error = error

    async def WatchRender(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802 — as in the contract
        if self._error:
            raise self._error
        for event in self._events:
            yield event
        await asyncio.Event().wait()


def telling(events: Sequence[render_pb2.RenderEvent] = (), error: ForgeError | None = None) -> Stream:
    return Stream(events, error)  # pyright: ignore[reportAbstractUsage] — nobody makes the other calls


async def read_from(stream: Stream, last_seq: int, **given: float) -> list[dict[str, Any]]:
    mount = Mount(SERVICE, render_service_pb2_grpc.add_RenderServiceServicer_to_server, stream)
    async with serving("127.0.0.1:0", [mount], grace_seconds=0) as port, channel(f"127.0.0.1:{port}") as open_channel:
        method = render_service_pb2_grpc.RenderServiceStub(open_channel).WatchRender
        return await log_up_to(last_seq, method, "rnd_1", CALLER, **given)


def events_up_to(last_seq: int) -> list[render_pb2.RenderEvent]:
    return [render_pb2.RenderEvent(seq=seq, status="running", phase="denoising") for seq in range(1, last_seq + 1)]


async def test_reading_stops_at_the_present_although_the_stream_goes_on() -> None:
    assert [event["seq"] for event in await read_from(telling(events_up_to(9)), 3)] == [1, 2, 3]


async def test_a_sign_of_life_is_no_event() -> None:
    copy = render_pb2.RenderEvent(seq=1, status="running", keep_alive=True)
    first, second = events_up_to(2)

    assert [event["seq"] for event in await read_from(telling([first, copy, second]), 2)] == [1, 2]


async def test_a_slow_stream_is_read_as_far_as_it_came() -> None:
    assert [event["seq"] for event in await read_from(telling(events_up_to(2)), 3, timeout_seconds=0.3)] == [1, 2]


async def test_what_is_measured_is_there_as_in_rest_and_what_is_not_is_absent() -> None:
    event = render_pb2.RenderEvent(seq=1, status="queued", progress=render_pb2.Progress(queue_position=1))
    (found,) = await read_from(telling([event]), 1)

    assert found["progress"] == {"done_steps": 0, "total_steps": 0, "fraction": 0.0, "queue_position": 1}


async def test_an_error_is_what_the_service_meant() -> None:
    error = ForgeError("there is no render 'rnd_1'", kind=Kind.NOT_FOUND, reason="RENDER_NOT_FOUND")
    with pytest.raises(ForgeError) as caught:
        await read_from(telling([], error), 1)

    assert caught.value.reason == "RENDER_NOT_FOUND"


async def test_a_render_without_events_is_not_asked_about() -> None:
    def never(*_: Any, **__: Any) -> grpc.aio.UnaryStreamCall[Any, Any]:
        raise AssertionError("asked")

    assert await log_up_to(0, never, "rnd_1", CALLER) == []
