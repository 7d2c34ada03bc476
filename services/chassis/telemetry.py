"""Traces, metrics and logs of a service: OpenTelemetry and structlog."""

import logging
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import grpc
import structlog
from cryptography import x509
from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from services.chassis.config import ChassisSettings
from services.chassis.metrics_page import PageReader, metrics_page
from services.chassis.span_export import StoreExporter
from services.chassis.spans import SpanIds
from services.chassis.trust import Certificates, Trust

_MOST_SPANS = 4_096
"""So many ended spans wait to be told of; about 4 MB."""

# Local variables hold prompts, images and keys: a traceback must never show them.
_WITHOUT_LOCALS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
_LAST_METRICS_MS = 1_000  # a collector that is gone holds up no end of a service for longer


@contextmanager
def telemetry(service: str, settings: ChassisSettings) -> Iterator[None]:
    """Set up logs, traces and metrics of this process; flush them on the way out.

    Spans go to the span store, which passes them on to where `settings` say; metrics go there directly.
    """
    _configure_logs(service)
    resource = Resource.create({SERVICE_NAME: f"forge-{service}"})
    exporter = StoreExporter(partial(_channel_to_store, service, settings))
    batches = BatchSpanProcessor(
        exporter, max_queue_size=_MOST_SPANS, schedule_delay_millis=settings.span_delay_ms, max_export_batch_size=512
    )
    provider = TracerProvider(resource=resource, id_generator=SpanIds())
    provider.add_span_processor(batches)
    page = PageReader()
    readers: list[MetricReader] = [page]
    if settings.otlp_endpoint:
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    meters = MeterProvider(readers, resource)
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(meters)
    try:
        with ExitStack() as stack:
            _show_certificate(service, settings)
            if address := settings.metrics_addresses.get(service):
                stack.enter_context(metrics_page(address, page))
            yield
    finally:
        exporter.hurry()
        provider.shutdown()
        meters.shutdown(timeout_millis=_LAST_METRICS_MS)


def current_trace_id() -> str:
    """Trace of the running call in hexadecimal; empty outside a trace."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


def extract_context(carrier: Mapping[str, str]) -> Context:
    """The trace context in headers."""
    return propagate.extract(carrier)


def _show_certificate(service: str, settings: ChassisSettings) -> None:
    """Show when the certificate ends that this process shows its siblings."""
    if settings.tls_dir is None:
        return
    try:
        certificate = x509.load_pem_x509_certificate((settings.tls_dir / f"{service}.pem").read_bytes())
    except (OSError, ValueError):
        return  # whoever needs it says so
    metrics.get_meter("forge.chassis").create_gauge(
        "forge.certificate.end", unit="s", description="When the certificate of the process ends, in seconds since 1970"
    ).set(certificate.not_valid_after_utc.timestamp())


def _without_words(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception with its type and where it came from, without what it says: libraries quote what they choke on."""
    for error in event.get("exception", ()):
        if isinstance(error, dict):
            error.update(exc_value="", exc_notes=[])
    return event


def _channel_to_store(service: str, settings: ChassisSettings) -> grpc.Channel:
    certificates = Certificates.in_folder(settings.tls_dir, service) if settings.tls_dir else None
    options = (("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2_000))
    return Trust(certificates).blocking_channel(settings.traces_address, "traces", options=options)


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
            _without_words,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
