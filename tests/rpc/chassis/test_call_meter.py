"""What is measured of calls."""

import asyncio
from contextlib import suppress

import pytest
from forge.traces.v1 import span_service_pb2 as pb
from forge.traces.v1 import span_service_pb2_grpc as rpc
from grpc import aio

from services.chassis import call_meter
from services.chassis.clients import channel_to
from services.chassis.errors import InvalidInput, Violation
from services.chassis.identity import Caller, service_caller
from services.chassis.server import Mount, serving


class Servicer(rpc.SpanServiceServicer):
    """Answers one trace, refuses the others, and breaks on some."""

    async def ListRenderSpans(self, request, context):  # noqa: N802 — as in the contract
        if request.trace_id == "broken":
            raise ValueError
        if request.trace_id:
            raise InvalidInput([Violation("trace_id", "is none")])
        return pb.ListRenderSpansResponse()


class Recorder:
    def __init__(self):
        self.calls = []

    def record(self, seconds, labels):
        assert seconds >= 0
        self.calls.append(tuple(labels.values()))


@pytest.mark.parametrize(
    ("trace_id", "caller", "code"),
    [
        ("", service_caller("scheduler"), "OK"),
        ("x", service_caller("scheduler"), "INVALID_ARGUMENT"),
        ("broken", service_caller("scheduler"), "INTERNAL"),
        ("", Caller("ann", "key_1", frozenset({"read"})), "PERMISSION_DENIED"),
    ],
)
async def test_a_call_is_counted_with_its_method_and_how_it_was_answered(trace_id, caller, code, monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(call_meter, "_calls", recorder)
    descriptor = pb.DESCRIPTOR.services_by_name["SpanService"]
    mount = Mount(descriptor, rpc.add_SpanServiceServicer_to_server, Servicer())
    async with (
        serving("127.0.0.1:0", [mount], grace_seconds=0) as port,
        channel_to(f"127.0.0.1:{port}", caller) as channel,
    ):
        with suppress(aio.AioRpcError):
            await rpc.SpanServiceStub(channel).ListRenderSpans(pb.ListRenderSpansRequest(trace_id=trace_id))
        async with asyncio.timeout(10):
            while not recorder.calls:  # the answer may be here before the server has noted it
                await asyncio.sleep(0.01)
    assert recorder.calls == [("forge.traces.v1.SpanService", "ListRenderSpans", code)]


async def test_a_method_that_is_not_there_makes_no_series(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(call_meter, "_calls", recorder)
    async with (
        serving("127.0.0.1:0", [], grace_seconds=0) as port,
        aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        with pytest.raises(aio.AioRpcError):
            await channel.unary_unary("/forge.made.Up/Whatever")(b"")
    assert recorder.calls == []
