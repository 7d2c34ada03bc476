"""Between the wire and our words: what OpenTelemetry tells of, cleaned of all that nobody asked for."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from forge.traces.v1 import span_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from services.chassis.errors import InvalidInput, Violation
from services.chassis.wire import timestamp
from services.traces.domain import (
    ALLOWED_ATTRIBUTES,
    ALLOWED_RESOURCE_ATTRIBUTES,
    LONGEST_TEXT,
    MOST_EVENTS,
    FoundSpans,
    Span,
    SpanEvent,
)

_STATUSES = {
    trace_pb2.Status.STATUS_CODE_UNSET: "unset",
    trace_pb2.Status.STATUS_CODE_OK: "ok",
    trace_pb2.Status.STATUS_CODE_ERROR: "error",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PREFIX = "forge-"
_METHOD = re.compile(r"^(async )?/?[a-z_.]+\.v[0-9]+\.")
"""What the name of a call begins with: "CatalogService/ListModels" says the same."""
_SAID_BY_THE_NAME = frozenset({"rpc.method", "rpc.service", "rpc.system"})


def clean(request: trace_service_pb2.ExportTraceServiceRequest) -> None:
    """Take everything out of `request` that could hold an input, a key or an address.

    That is every attribute that is not on the list, messages of statuses and of errors, and what clients put into a
    trace state. What is passed on is what is kept.
    """
    for group in request.resource_spans:
        _keep_only(group.resource.attributes, ALLOWED_RESOURCE_ATTRIBUTES)
        for scope in group.scope_spans:
            for span in scope.spans:
                span.name = span.name[:LONGEST_TEXT]
                span.status.message = ""
                span.trace_state = ""
                del span.links[:]
                del span.events[MOST_EVENTS:]
                _keep_only(span.attributes, ALLOWED_ATTRIBUTES)
                for event in span.events:
                    event.name = event.name[:LONGEST_TEXT]
                    _keep_only(event.attributes, ALLOWED_ATTRIBUTES)


def spans_from_otlp(request: trace_service_pb2.ExportTraceServiceRequest) -> list[Span]:
    """The spans of a cleaned request; those without ids, which nothing of the platform makes, are left out."""
    found: list[Span] = []
    for group in request.resource_spans:
        names = {attribute.key: attribute.value.string_value for attribute in group.resource.attributes}
        service = names.get("service.name", "").removeprefix(_PREFIX)[:LONGEST_TEXT]
        for scope in group.scope_spans:
            found += [
                _span(service, span) for span in scope.spans if len(span.trace_id) == 16 and len(span.span_id) == 8
            ]
    return found


def trace_id(text: str) -> str:
    """A trace id. Raises InvalidInput."""
    if len(text) != 32 or not set(text) <= set("0123456789abcdef"):
        raise InvalidInput([Violation("trace_id", "must be 32 hexadecimal digits in lower case")])
    return text


def found_to_proto(found: FoundSpans) -> pb.ListRenderSpansResponse:
    """The spans of a render."""
    return pb.ListRenderSpansResponse(spans=[_span_to_proto(span) for span in found.spans], is_cut=found.is_cut)


def _span(service: str, span: trace_pb2.Span) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        service=service,
        name=_METHOD.sub("", span.name),
        began_us=span.start_time_unix_nano // 1000,
        ended_us=span.end_time_unix_nano // 1000,
        status=_STATUSES.get(span.status.code, "unset"),
        is_entrance=span.kind == trace_pb2.Span.SPAN_KIND_SERVER,
        attributes={name: text for name, text in _attributes(span.attributes).items() if name not in _SAID_BY_THE_NAME},
        events=tuple(
            SpanEvent(event.time_unix_nano // 1000, event.name, _attributes(event.attributes)) for event in span.events
        ),
    )


def _attributes(pairs: Any) -> dict[str, str]:
    return {pair.key: _text(pair.value) for pair in pairs}


def _text(value: Any) -> str:
    """A value in words: numbers as they are, switches as true and false."""
    kind = value.WhichOneof("value")
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    return "" if kind is None else f"{getattr(value, kind)}"[:LONGEST_TEXT]


def _keep_only(attributes: Any, allowed: frozenset[str]) -> None:
    kept = [pair for pair in attributes if pair.key in allowed and not _is_nested(pair.value)]
    for pair in kept:
        if pair.value.HasField("string_value"):
            pair.value.string_value = pair.value.string_value[:LONGEST_TEXT]
    if len(kept) != len(attributes):
        copies = [type(pair).FromString(pair.SerializeToString()) for pair in kept]
        del attributes[:]
        attributes.extend(copies)


def _is_nested(value: Any) -> bool:
    return value.WhichOneof("value") in ("array_value", "kvlist_value", "bytes_value")


def _span_to_proto(span: Span) -> pb.Span:
    return pb.Span(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        service=span.service,
        name=span.name,
        started_at=timestamp(_moment(span.began_us)),
        ended_at=timestamp(_moment(span.ended_us)),
        status=span.status,
        attributes=dict(span.attributes),
        events=[
            pb.SpanEvent(at=timestamp(_moment(event.at_us)), name=event.name, attributes=dict(event.attributes))
            for event in span.events
        ],
    )


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
