"""Traces of renders: as the span store tells of them, and as clients see them."""

from forge.scheduler.v1 import render_trace_pb2
from forge.traces.v1 import span_service_pb2

from services.chassis.wire import moment, timestamp
from services.scheduler.domain.trace import RenderSpan, RenderTrace, SpanNote, ToldSpans


def told_spans(response: span_service_pb2.ListRenderSpansResponse) -> ToldSpans:
    """What the span store has of a render."""
    return ToldSpans([_span(span) for span in response.spans], response.is_cut)


def trace_to_proto(trace: RenderTrace) -> render_trace_pb2.RenderTrace:
    """The trace of a render."""
    return render_trace_pb2.RenderTrace(
        render_id=trace.render_id,
        trace_id=trace.trace_id,
        spans=[_span_to_proto(span) for span in trace.spans],
        is_whole=trace.is_whole,
        note=trace.note,
    )


def _span(span: span_service_pb2.Span) -> RenderSpan:
    return RenderSpan(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        service=span.service,
        name=span.name,
        started_at=moment(span.started_at),
        ended_at=moment(span.ended_at),
        status=span.status,
        attributes=dict(span.attributes),
        notes=tuple(SpanNote(moment(event.at), event.name, dict(event.attributes)) for event in span.events),
    )


def _span_to_proto(span: RenderSpan) -> render_trace_pb2.TraceSpan:
    return render_trace_pb2.TraceSpan(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        service=span.service,
        name=span.name,
        started_at=timestamp(span.started_at),
        duration_ms=span.duration_ms,
        status=span.status,
        attributes=dict(span.attributes),
        events=[
            render_trace_pb2.TraceEvent(at=timestamp(note.at), name=note.name, attributes=dict(note.attributes))
            for note in span.notes
        ],
    )
