"""What the scheduler that leads tells the others: what it knows of the fleet and of its use beyond the store."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.scheduler.domain.circuit import Circuits
from services.scheduler.domain.circuit import Key as CircuitKey
from services.scheduler.domain.durations import Durations, Seen
from services.scheduler.domain.runtime import Runtime
from services.scheduler.domain.shares import Day, Shares


@dataclass(frozen=True)
class Bulletin:
    """All durations are seconds from the moment of the bulletin."""

    runtimes: tuple[Runtime, ...] = ()
    room: tuple[int, ...] | None = None
    """How many slots of each kind of the fleet, in its order, are on machines that are there; None for all."""
    remaining: Mapping[str, float | None] = field(default_factory=dict)
    """By render: how long its attempt is expected to be in others' way; None where nobody knows."""
    at_their_limit: tuple[str, ...] = ()
    """Accounts that run as many renders at once as they may."""
    runs: Seen = ()
    starts: Seen = ()
    circuits: tuple[tuple[CircuitKey, float], ...] = ()
    """Open ones, each with how long it stays so."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Device time that counts for each account."""
    day: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Device time of each account in the last 24 hours, and how long until some of it no longer counts."""


@dataclass(frozen=True)
class Knowledge:
    """What a scheduler has counted itself, or was told by the one that leads."""

    durations: Durations
    circuits: Circuits
    shares: Shares
    day: Day

    def take_over(self, bulletin: Bulletin, now: float) -> None:
        """Know what the bulletin says in place of all that was known. `now` is monotonic seconds."""
        self.durations.take_over(bulletin.runs, bulletin.starts)
        self.circuits.take_over(dict(bulletin.circuits), now)
        self.shares.take_over(bulletin.shares, now)
        self.day.take_over(bulletin.day, now)
