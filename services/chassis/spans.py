"""Spans of work that may outlast a process: told of when it is over, under ids that are known beforehand."""

import hashlib
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

Attributes = Mapping[str, str | int | float | bool]

_given_id: ContextVar[int] = ContextVar("given_span_id", default=0)
_TO_NANOSECONDS = 1_000_000_000


class SpanIds(RandomIdGenerator):
    """Random ids, but for spans that `tell_of_span` gives one."""

    def generate_span_id(self) -> int:
        """The id of a span that begins."""
        return _given_id.get() or super().generate_span_id()


def span_id_of(*names: object) -> int:
    """The id of the span of a thing with these names: the same in every process, and nobody else's."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") or 1


def within(carrier: Mapping[str, str], span_id: int) -> dict[str, str]:
    """The trace context, as headers, of a span with this id in the trace that `carrier` leads to; empty without one."""
    outer = trace.get_current_span(propagate.extract(carrier, context=Context())).get_span_context()
    if not outer.is_valid:
        return {}
    inner = trace.SpanContext(outer.trace_id, span_id, is_remote=True, trace_flags=outer.trace_flags)
    headers: dict[str, str] = {}
    propagate.inject(headers, trace.set_span_in_context(trace.NonRecordingSpan(inner), Context()))
    return headers


def tell_of_span(
    tracer: trace.Tracer,
    name: str,
    carrier: Mapping[str, str],
    began: datetime,
    ended: datetime,
    *,
    span_id: int = 0,
    attributes: Attributes | None = None,
    failed: bool = False,
) -> dict[str, str]:
    """Tell of something that is over, as a part of what `carrier` leads to. Nothing happens outside a trace.

    With a `span_id` its parts may have been told of before. The carrier for parts that are told of afterwards.
    """
    parent = propagate.extract(carrier, context=Context())
    if not trace.get_current_span(parent).get_span_context().is_valid:
        return {}
    token = _given_id.set(span_id)
    try:
        span = tracer.start_span(name, parent, attributes=dict(attributes or {}), start_time=_nanoseconds(began))
    finally:
        _given_id.reset(token)
    if failed:
        span.set_status(trace.StatusCode.ERROR)
    span.end(max(_nanoseconds(began), _nanoseconds(ended)))
    headers: dict[str, str] = {}
    propagate.inject(headers, trace.set_span_in_context(span, Context()))
    return headers


def incoming_context() -> dict[str, str]:
    """Where the running call came from, as headers: the edge's span, or the client's; else the call's own.

    The span of a call is lost with the process that answers it; what outlasts the call must not hang on it.
    """
    span = trace.get_current_span()
    parent: trace.SpanContext | None = getattr(span, "parent", None)
    if parent is not None and parent.is_valid:
        span = trace.NonRecordingSpan(parent)
    headers: dict[str, str] = {}
    propagate.inject(headers, trace.set_span_in_context(span, Context()))
    return headers


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * (_TO_NANOSECONDS // 1_000_000)
