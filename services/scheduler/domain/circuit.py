"""Sparing a target from a version whose renders keep losing their workers there."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from services.scheduler.domain.fleet import Target

OPENS_AFTER = 2
"""Renders that lost all their workers, within the window, until the circuit opens."""
WINDOW_SECONDS = 600.0
OPEN_SECONDS = 600.0
"""How long an open circuit lets nothing through; then it lets one render through at a time until one goes well."""

Key = tuple[str, str, Target]
"""Slug, version and target."""


@dataclass
class _Circuit:
    failures: deque[float] = field(default_factory=deque)
    open_until: float | None = None
    trial: str | None = None


class Circuits:
    """One circuit for each version on each target. Moments are monotonic seconds."""

    def __init__(self) -> None:
        self._circuits: dict[Key, _Circuit] = {}

    def lets_through(self, key: Key, now: float) -> bool:
        """Whether a render may go there now."""
        circuit = self._circuits.get(key)
        if circuit is None or circuit.open_until is None:
            return True
        return now >= circuit.open_until and circuit.trial is None

    def began(self, key: Key, render_id: str) -> None:
        """A render was placed there; behind an open circuit it is the trial."""
        circuit = self._circuits.get(key)
        if circuit is not None and circuit.open_until is not None:
            circuit.trial = render_id

    def failed(self, key: Key, now: float, *, seconds_ago: float = 0.0) -> None:
        """A render lost its last worker there."""
        circuit = self._circuits.setdefault(key, _Circuit())
        circuit.failures.append(now - seconds_ago)
        while circuit.failures and circuit.failures[0] < now - WINDOW_SECONDS:
            circuit.failures.popleft()
        if len(circuit.failures) >= OPENS_AFTER:
            circuit.open_until = circuit.failures[-1] + OPEN_SECONDS

    def left(self, key: Key, render_id: str, now: float, *, well: bool | None) -> None:
        """A render left the target; `well` when its worker was not lost, None when that was not to be seen."""
        circuit = self._circuits.get(key)
        if circuit is None or circuit.open_until is None:
            return
        if well and circuit.trial in (None, render_id) and circuit.open_until <= now:
            del self._circuits[key]
        elif circuit.trial == render_id:
            circuit.trial = None
            if well is not None:
                circuit.open_until = now + OPEN_SECONDS

    def open(self, now: float) -> dict[Key, float]:
        """The circuits that are open, each with the seconds until it lets a render through again."""
        return {
            key: max(0.0, circuit.open_until - now)
            for key, circuit in self._circuits.items()
            if circuit.open_until is not None
        }

    def take_over(self, open_for: Mapping[Key, float], now: float) -> None:
        """Know these circuits, open for so many seconds, and no others."""
        self._circuits = {key: _Circuit(open_until=now + seconds) for key, seconds in open_for.items()}


@dataclass(frozen=True)
class OpenCircuit:
    """A version that a target is spared from, as it is shown."""

    slug: str
    model_version: str
    target: Target
    until: datetime

    @property
    def message(self) -> str:
        """Why, in words."""
        return f"{OPENS_AFTER} renders lost all their workers here within {WINDOW_SECONDS / 60:.0f} minutes"
