"""How long renders and starts take, as far as this installation has seen it."""

from collections import defaultdict, deque
from dataclasses import dataclass

from services.scheduler.domain.fleet import Target

_KEPT = 50

Key = tuple[str, str, Target]
"""Slug, version and target."""

Seen = tuple[tuple[Key, tuple[float, ...]], ...]
"""Durations by what took them, in the order they were seen."""


@dataclass(frozen=True)
class Span:
    """A duration in seconds: half of the cases take at most `p50`, nine of ten at most `p90`."""

    p50: float
    p90: float


class Durations:
    """The last durations of runs and of starts, by version and target."""

    def __init__(self) -> None:
        self._runs: defaultdict[Key, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._starts: defaultdict[Key, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))

    def ran(self, key: Key, seconds: float) -> None:
        """A render took so long on a warm runtime."""
        self._runs[key].append(seconds)

    def started(self, key: Key, seconds: float) -> None:
        """A runtime took so long to start."""
        self._starts[key].append(seconds)

    def run(self, key: Key) -> Span | None:
        """How long renders take; None when none was seen."""
        return _span(self._runs.get(key))

    def start(self, key: Key) -> Span | None:
        """How long starts take; None when none was seen."""
        return _span(self._starts.get(key))

    @property
    def runs(self) -> Seen:
        """All runs that count."""
        return tuple((key, tuple(seen)) for key, seen in self._runs.items())

    @property
    def starts(self) -> Seen:
        """All starts that count."""
        return tuple((key, tuple(seen)) for key, seen in self._starts.items())

    def take_over(self, runs: Seen, starts: Seen) -> None:
        """Know these and no others."""
        for known, seen in ((self._runs, runs), (self._starts, starts)):
            known.clear()
            for key, durations in seen:
                known[key].extend(durations)


def _span(seen: deque[float] | None) -> Span | None:
    if not seen:
        return None
    ordered = sorted(seen)
    return Span(ordered[(len(ordered) - 1) // 2], ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))])
