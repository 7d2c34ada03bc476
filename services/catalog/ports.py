"""What the catalogue needs from outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.catalog.domain import Pin, RouteTarget
from services.catalog.domain.measurements import History, Measurement, Place, Samples
from services.catalog.domain.rows import PricePerHour
from services.catalog.domain.snippets import Selection, SnippetKind


class Fleet(Protocol):
    """The devices that can be used now."""

    async def targets(self) -> tuple[RouteTarget, ...]:
        """Every target of the fleet, ordered by device and region. ServiceUnavailable when nobody can say."""
        ...


class Prices(Protocol):
    """What devices cost now."""

    async def per_hour(self) -> PricePerHour:
        """Prices by device and region; none when nobody can say."""
        ...


@dataclass(frozen=True)
class Entry:
    """A measurement as it is recorded."""

    measurement: Measurement
    work_key: str
    """What its inputs are compared by; see `Work.key_of`."""


class Ledger(Protocol):
    """What was measured, kept for ever. Raises ServiceUnavailable while it cannot be read or written."""

    async def add(self, entries: Sequence[Entry]) -> None:
        """Keep measurements, all or none. One whose id is there already stays as it is."""
        ...

    async def histories(self, slug: str, version: str, *, example_key: str, since: datetime) -> tuple[History, ...]:
        """The history of a version on every spot; `since` is how far back measurements are fresh."""
        ...

    async def samples(self, slug: str, version: str) -> tuple[Samples, ...]:
        """What estimates of a version rest on, on every spot."""
        ...

    async def page(
        self, slug: str, version: str, pin: Pin, *, after: Place | None, size: int
    ) -> tuple[Measurement, ...]:
        """Measurements of a version on the targets a pin admits, newest first, from behind a place."""
        ...


class SnippetWriter(Protocol):
    """Who writes text to copy."""

    def write(self, kind: SnippetKind, selection: Selection) -> str:
        """The text of a kind for a selection. It holds no key, and no value in it gets out of its quotes."""
        ...
