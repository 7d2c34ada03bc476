"""What telling the ledger and the bills of ended attempts needs from the world."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.scheduler.domain.render import Render


@dataclass(frozen=True)
class Report:
    """A render with an attempt that has ended. `seq` is the event that said so."""

    render: Render
    seq: int


class ReportStore(Protocol):
    """The renders that are still to be told of. Every method raises StoreUnavailable when the store is away."""

    async def due(self, *, after: str, limit: int) -> Sequence[Report]:
        """Some of them, as they stand now, ordered by render id and beginning after `after`."""
        ...

    async def told(self, report: Report) -> None:
        """Forget one that was told, unless another of its attempts has ended meanwhile."""
        ...


class Bookkeeper(Protocol):
    """Somebody who keeps account of attempts. Being told twice changes nothing."""

    async def tell(self, render: Render) -> None:
        """Tell of a render's ended attempts. Raises ForgeError: SERVICE_UNAVAILABLE when it does not answer."""
        ...
