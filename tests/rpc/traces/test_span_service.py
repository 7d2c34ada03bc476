"""The span store over gRPC: spans come in over OTLP, and only services read them."""

from contextlib import AsyncExitStack
from datetime import timedelta

import grpc
import pytest
from forge.traces.v1 import span_service_pb2 as pb
from forge.traces.v1 import span_service_pb2_grpc as rpc
from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from services.chassis.clients import channel_to
from services.chassis.clock import SystemClock
from services.chassis.identity import Caller, service_caller
from services.chassis.server import serving
from services.chassis.span_export import StoreExporter
from services.chassis.storage import sqlite_database
from services.traces.__main__ import MIGRATIONS
from services.traces.adapters.otlp_collector import collector_at
from services.traces.adapters.sql_span_store import SqlSpanStore
from services.traces.domain import Retention
from services.traces.servicer import mounts
from services.traces.usecases import SpanBook

TRACE = "ab" * 16
SOMEBODY = Caller("ann", "key_1", frozenset({"admin"}))


class Meters:
    """Counts nothing."""

    def kept(self, spans):
        pass

    def dropped(self, spans, why):
        pass


@pytest.fixture
async def store(tmp_path):
    """A span store that serves, and what it passed on."""
    passed_on = []
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(sqlite_database(tmp_path / "traces.sqlite3", MIGRATIONS))
        retention = Retention(timedelta(days=1), timedelta(hours=1), 10**9)
        book = SpanBook(SqlSpanStore(database), retention=retention, meters=Meters(), clock=SystemClock())
        await stack.enter_async_context(book.kept_written(on_failure=lambda: None))
        served = mounts(book, passed_on.append)
        port = await stack.enter_async_context(serving("127.0.0.1:0", served, grace_seconds=0))
        yield f"127.0.0.1:{port}", passed_on


async def listed(address, caller=None, **asked):
    async with channel_to(address, caller or service_caller("scheduler")) as channel:
        request = pb.ListRenderSpansRequest(**{"trace_id": TRACE, "render_id": "rnd_1", **asked})
        return (await rpc.SpanServiceStub(channel).ListRenderSpans(request)).spans


async def test_what_a_service_tells_of_is_found_and_passed_on(store):
    address, passed_on = store
    exporter = StoreExporter(lambda: grpc.insecure_channel(address))
    provider = TracerProvider(resource=Resource.create({"service.name": "forge-web"}))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=10))
    span = provider.get_tracer("test").start_span("page", attributes={"forge.render_id": "rnd_1", "prompt": "a cat"})
    span.end()
    trace_id = f"{span.get_span_context().trace_id:032x}"
    found = []
    while not found:
        found = await listed(address, trace_id=trace_id)
    assert (found[0].service, found[0].name) == ("web", "page")
    assert dict(found[0].attributes) == {"forge.render_id": "rnd_1"}
    assert b"a cat" not in passed_on[0].SerializeToString()
    exporter.hurry()
    provider.shutdown()


async def test_no_key_reads_spans(store):
    address, _ = store
    with pytest.raises(aio.AioRpcError) as refused:
        await listed(address, SOMEBODY)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("trace_id", ["", "xyz", "AB" * 16, "ab" * 17])
async def test_a_trace_id_that_is_none_is_refused_by_name(store, trace_id):
    address, _ = store
    with pytest.raises(aio.AioRpcError) as refused:
        await listed(address, trace_id=trace_id)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "trace_id" in str(refused.value.details())


def test_a_store_that_is_away_costs_its_callers_nothing():
    exporter = StoreExporter(lambda: grpc.insecure_channel("127.0.0.1:9"))
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=10))
    for number in range(100):
        provider.get_tracer("test").start_span(f"{number}").end()
    exporter.hurry()
    provider.shutdown()
    assert exporter.export([]).name == "FAILURE"


class Elsewhere(trace_service_pb2_grpc.TraceServiceServicer):
    """A collector of somebody else."""

    def __init__(self):
        self.got = []

    async def Export(self, request, context):  # noqa: N802 — the protocol's name
        self.got.append((request, dict(context.invocation_metadata())))
        return trace_service_pb2.ExportTraceServiceResponse()


async def test_a_collector_elsewhere_gets_all_of_it_with_its_headers():
    elsewhere, server = Elsewhere(), aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(elsewhere, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    request = trace_service_pb2.ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.append(trace_pb2.Span(name="x"))
    given = {"headers": "x-token=secret", "certificate": None, "meters": Meters(), "on_failure": lambda: None}
    async with collector_at(f"http://127.0.0.1:{port}", **given) as collector:
        collector.pass_on(request)
        collector.pass_on(request)
    await server.stop(0)
    assert [found.resource_spans[0].scope_spans[0].spans[0].name for found, _ in elsewhere.got] == ["x", "x"]
    assert elsewhere.got[0][1]["x-token"] == "secret"
