"""Spans on their way to the span store: in batches, in the background, and to nobody's harm while it is away."""

import threading
from collections.abc import Callable, Sequence

import grpc
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

_PATIENCE_SECONDS = 5.0
"""How long a batch waits for a store that is being restarted."""
_LAST_SECONDS = 0.5


class StoreExporter(SpanExporter):
    """Sends batches to the span store. One that cannot be sent is lost in silence: spans are no reason to say no."""

    def __init__(self, open_channel: Callable[[], grpc.Channel]) -> None:
        """The channel is opened for the first batch: most processes of a command have none."""
        self._open_channel = open_channel
        self._channel: grpc.Channel | None = None
        self._patience_seconds = _PATIENCE_SECONDS
        self._is_given_up = False
        self._under_way: grpc.Future | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; called by the one thread that collects them."""
        if self._is_given_up:
            return SpanExportResult.FAILURE
        if self._channel is None:
            self._channel = self._open_channel()
        stub = TraceServiceStub(self._channel)
        try:
            under_way = stub.Export.future(encode_spans(spans), timeout=self._patience_seconds, wait_for_ready=True)
            self._under_way = under_way
            under_way.result()
        except (grpc.RpcError, grpc.FutureCancelledError):
            self._is_given_up = self._patience_seconds == _LAST_SECONDS
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def hurry(self) -> None:
        """The process ends: what cannot be sent in a moment is lost."""
        self._patience_seconds = _LAST_SECONDS
        if self._under_way is not None:
            timer = threading.Timer(_LAST_SECONDS, self._under_way.cancel)
            timer.daemon = True
            timer.start()

    def shutdown(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._is_given_up = True

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back here."""
        return True
