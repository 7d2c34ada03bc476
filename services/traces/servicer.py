"""The gRPC edge of the span store: unpack, ask, pack."""

from collections.abc import Callable

from forge.traces.v1 import span_service_pb2 as pb
from forge.traces.v1 import span_service_pb2_grpc as rpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from services.chassis.server import Mount
from services.traces import convert
from services.traces.usecases import SpanBook

PassOn = Callable[[trace_service_pb2.ExportTraceServiceRequest], None]


class SpanServicer(rpc.SpanServiceServicer):
    """Answers SpanService."""

    def __init__(self, book: SpanBook) -> None:
        self._book = book

    async def ListRenderSpans(self, request, context):
        found = await self._book.of_render(convert.trace_id(request.trace_id), request.render_id)
        return convert.found_to_proto(found)


class TraceServicer(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans as OpenTelemetry sends them; cleaned, they are kept and passed on."""

    def __init__(self, book: SpanBook, pass_on: PassOn) -> None:
        self._book = book
        self._pass_on = pass_on

    async def Export(self, request, context):
        convert.clean(request)
        self._book.take(convert.spans_from_otlp(request))
        self._pass_on(request)
        return trace_service_pb2.ExportTraceServiceResponse()


def mounts(book: SpanBook, pass_on: PassOn) -> list[Mount]:
    """The services, ready to be added to a server."""
    return [
        Mount(pb.DESCRIPTOR.services_by_name["SpanService"], rpc.add_SpanServiceServicer_to_server, SpanServicer(book)),
        Mount(
            trace_service_pb2.DESCRIPTOR.services_by_name["TraceService"],
            trace_service_pb2_grpc.add_TraceServiceServicer_to_server,
            TraceServicer(book, pass_on),
        ),
    ]
