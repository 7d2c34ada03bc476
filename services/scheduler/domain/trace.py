"""What was done for a render, as spans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True)
class SpanNote:
    """Something that happened at one moment of a span."""

    at: datetime
    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RenderSpan:
    """Something that took time. Ids are hexadecimal; `ended_at` is None while it goes on."""

    span_id: str
    parent_span_id: str
    service: str
    name: str
    started_at: datetime
    ended_at: datetime | None = None
    status: str = "unset"
    attributes: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[SpanNote, ...] = ()

    @property
    def duration_ms(self) -> float | None:
        """How long it took; never negative, whatever clocks did."""
        if self.ended_at is None:
            return None
        return max(0.0, (self.ended_at - self.started_at) / timedelta(milliseconds=1))


@dataclass(frozen=True)
class ToldSpans:
    """What the span store has of a render; `is_cut` when some of it may be missing."""

    spans: Sequence[RenderSpan]
    is_cut: bool = False


@dataclass(frozen=True)
class RenderTrace:
    """The spans of a render in the order in which they began, and what should be known of them."""

    render_id: str
    trace_id: str
    spans: Sequence[RenderSpan]
    is_whole: bool
    note: str = ""
