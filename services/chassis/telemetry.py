"""Traces, metrics and logs of a service: OpenTelemetry and structlog, silent unless somebody listens."""

import logging
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

# Local variables hold prompts, images and keys: a traceback must never show them.
_WITHOUT_LOCALS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
_LAST_METRICS_MS = 1_000  # a collector that is gone holds up no end of a service for longer


@contextmanager
def telemetry(service: str, otlp_endpoint: str | None) -> Iterator[None]:
    """Set up logs, traces and metrics of this process; flush them on the way out.

    Trace ids are made whether or not spans are exported. Spans and metrics go to `otlp_endpoint`, an OTLP/gRPC address,
    when given.
    """
    _configure_logs(service)
    resource = Resource.create({SERVICE_NAME: f"forge-{service}"})
    provider = TracerProvider(resource=resource)
    readers: list[PeriodicExportingMetricReader] = []
    if otlp_endpoint:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    meters = MeterProvider(readers, resource)
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(meters)
    try:
        yield
    finally:
        provider.shutdown()
        meters.shutdown(timeout_millis=_LAST_METRICS_MS)


def current_trace_id() -> str:
    """Trace of the running call in hexadecimal; empty outside a trace."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


def inject_context() -> dict[str, str]:
    """The trace context as headers, to store beside work that is done later."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def extract_context(carrier: Mapping[str, str]) -> Context:
    """The trace context that `inject_context` stored."""
    return propagate.extract(carrier)


def _configure_logs(service: str) -> None:
    def add_identity(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        if trace_id := current_trace_id():
            event["trace_id"] = trace_id
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            add_identity,
            structlog.processors.ExceptionRenderer(_WITHOUT_LOCALS),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
