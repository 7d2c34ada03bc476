"""What the span store needs from the world."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from services.traces.domain import FoundSpans, Retention, Span


class SpanStore(Protocol):
    """Spans by trace. Every method raises StoreUnavailable when the store cannot be read or written now."""

    async def add(self, spans: Sequence[Span], now: datetime) -> None:
        """Keep spans. One that is told of twice counts once."""
        ...

    async def trace(self, trace_id: str) -> FoundSpans:
        """The spans of a trace, the newest of one that is very large."""
        ...

    async def prune(self, retention: Retention, now: datetime) -> int:
        """Forget what is too old, and the oldest where there is too much; how many traces that were."""
        ...


class Meters(Protocol):
    """Counts what becomes of spans."""

    def kept(self, spans: int) -> None:
        """So many were written."""
        ...

    def dropped(self, spans: int, why: str) -> None:
        """So many were not: too many at once, or the disk is full."""
        ...
