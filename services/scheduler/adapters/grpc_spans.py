"""Spans of renders over gRPC, from the span store."""

from __future__ import annotations  # grpc classes are generic in their stubs only

from forge.traces.v1 import span_service_pb2 as pb
from forge.traces.v1 import span_service_pb2_grpc as rpc
from grpc import aio

from services.chassis.status import errors_of
from services.scheduler.convert import traces as convert
from services.scheduler.domain.trace import ToldSpans

TIMEOUT_SECONDS = 2.0


class GrpcSpans:
    """Asks the span store."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = rpc.SpanServiceStub(channel)

    async def of_render(self, trace_id: str, render_id: str) -> ToldSpans:
        """The spans of a render that are kept."""
        request = pb.ListRenderSpansRequest(trace_id=trace_id, render_id=render_id)
        async with errors_of("traces"):
            return convert.told_spans(await self._stub.ListRenderSpans(request, timeout=TIMEOUT_SECONDS))
