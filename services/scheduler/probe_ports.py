"""What probes need from the world."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.scheduler.domain.probe import Probe, ProbeStatus


@dataclass(frozen=True)
class ProbePage:
    """Some probes, newest first; `next_before` continues the listing, None at its end."""

    probes: Sequence[Probe]
    next_before: str | None


Step = Callable[[Probe], Probe | None]
"""A pure step of a probe; None leaves it as it is."""


class ProbeStore(Protocol):
    """Probes that survive. Every method raises StoreUnavailable when the store cannot be read or written now."""

    async def add(self, probe: Probe) -> Probe:
        """Keep a new probe; where one of its version is under way on its target, nothing is kept and that one comes."""
        ...

    async def get(self, probe_id: str) -> Probe | None:
        """A probe."""
        ...

    async def page(self, *, slug: str | None, status: ProbeStatus | None, size: int, before: str | None) -> ProbePage:
        """Probes, newest first, from just before the id `before`."""
        ...

    async def advance(self, probe_id: str, step: Step) -> Probe | None:
        """Apply a step to a probe; None when there is none or nothing changed."""
        ...

    async def under_way(self) -> Sequence[Probe]:
        """Those of which something can still become, oldest first."""
        ...

    async def created_since(self, moment: datetime) -> Sequence[Probe]:
        """Those created at `moment` or later, oldest first."""
        ...


@dataclass(frozen=True)
class TargetRow:
    """How well a version is known on a target, as the catalogue says."""

    slug: str
    model_version: str
    gpu_type: str
    region: str
    simulated: bool
    status: str


class TargetRows(Protocol):
    """The performance tables of the catalogue."""

    async def all(self) -> Sequence[TargetRow]:
        """The rows of all versions, in a fixed order. Raises ServiceUnavailable."""
        ...
