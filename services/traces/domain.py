"""Spans, what may be known of them, and which of them are a render's."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

RENDER_ID = "forge.render_id"
EDGE = "edge"

ALLOWED_ATTRIBUTES = frozenset(
    {
        RENDER_ID,
        "forge.attempt",
        "forge.bytes",
        "forge.cut_off",
        "forge.done_steps",
        "forge.epoch",
        "forge.gpu_seconds",
        "forge.gpu_type",
        "forge.model",
        "forge.model_version",
        "forge.outcome",
        "forge.reason",
        "forge.region",
        "forge.resumed_steps",
        "forge.runtime_id",
        "forge.simulated",
        "forge.status",
        "forge.total_steps",
        "http.method",
        "http.protocol",
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "http.status_code",
        "request_size",
        "response_flags",
        "response_size",
        "rpc.grpc.status_code",
        "rpc.method",
        "rpc.service",
        "rpc.system",
        "upstream_cluster",
        "upstream_cluster.name",
    }
)
"""Names of facts that can hold no input, no key and no address: all others are forgotten where they come in."""
ALLOWED_RESOURCE_ATTRIBUTES = frozenset({"service.name", "telemetry.sdk.language", "telemetry.sdk.name"})
LONGEST_TEXT = 120
"""Longer names and values are cut."""
MOST_EVENTS = 64
"""So many events of a span are kept."""


@dataclass(frozen=True)
class SpanEvent:
    """Something that happened at one moment of a span, in microseconds since 1970."""

    at_us: int
    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Span:
    """Something that took time. Ids are hexadecimal, times microseconds since 1970."""

    trace_id: str
    span_id: str
    parent_span_id: str
    service: str
    name: str
    began_us: int
    ended_us: int
    status: str = "unset"
    is_entrance: bool = False
    """Whether it serves a call from elsewhere."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    events: tuple[SpanEvent, ...] = ()

    @property
    def render_id(self) -> str:
        """The render it names; empty for none."""
        return self.attributes.get(RENDER_ID, "")

    @property
    def is_request(self) -> bool:
        """Whether a client's request begins here: nobody inside the platform calls through the edge."""
        return self.is_entrance and self.service == EDGE

    @property
    def bare(self) -> "Span":
        """It without anything but what it was and how long it took."""
        return replace(self, attributes={}, events=())


@dataclass(frozen=True)
class Retention:
    """How long spans stay, and how much room they may take."""

    renders: timedelta
    others: timedelta
    max_bytes: int


@dataclass(frozen=True)
class FoundSpans:
    """Spans in the order in which they began; `is_cut` when there are more than were looked at."""

    spans: Sequence[Span]
    is_cut: bool = False


def of_render(spans: Iterable[Span], render_id: str) -> list[Span]:
    """The spans of a trace that belong to a render: those that name it, and the rest of its requests.

    A trace id is the client's choice. So the way up ends at the edge, where the request came in, and the way down ends
    where another request comes in or another render is named: nobody is shown what is not of his own request.
    """
    by_id = {span.span_id: span for span in spans}
    parts: dict[str, list[Span]] = defaultdict(list)
    for span in by_id.values():
        parts[span.parent_span_id].append(span)
    found: dict[str, Span] = {}

    def down(top: Span, *, is_known: bool) -> None:
        todo = [(top, is_known)]
        while todo:
            span, known = todo.pop()
            if span.span_id in found or span.render_id not in ("", render_id) or (span.is_request and span is not top):
                continue
            known = known or span.render_id == render_id
            found[span.span_id] = span if known else span.bare
            todo += [(part, known) for part in parts[span.span_id]]

    for span in by_id.values():
        if span.render_id == render_id:
            down(_top(span, by_id, render_id), is_known=False)
    return sorted(found.values(), key=lambda span: (span.began_us, -span.ended_us))


def _top(span: Span, by_id: Mapping[str, Span], render_id: str) -> Span:
    """Where the request came in that a span is a part of, as far up as is known."""
    seen = {span.span_id}
    while not span.is_request:
        above = by_id.get(span.parent_span_id)
        if above is None or above.span_id in seen or above.render_id not in ("", render_id):
            break
        seen.add(above.span_id)
        span = above
    return span
