"""Runtimes: one version loaded on one slot."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.chassis.errors import ForgeError
from services.scheduler.domain.fleet import Target


class RuntimeStatus(StrEnum):
    """How warm a runtime is. Busy is a property of a warm one."""

    STARTING = "starting"
    WARM = "warm"
    DRAINING = "draining"
    FAILED = "failed"


_MOVES: Mapping[RuntimeStatus, frozenset[RuntimeStatus]] = {
    RuntimeStatus.STARTING: frozenset({RuntimeStatus.WARM, RuntimeStatus.FAILED, RuntimeStatus.DRAINING}),
    RuntimeStatus.WARM: frozenset({RuntimeStatus.DRAINING, RuntimeStatus.FAILED}),
    RuntimeStatus.DRAINING: frozenset(),
    RuntimeStatus.FAILED: frozenset(),
}

# The summary of a family names the warmest of its runtimes.
_WARMTH = (RuntimeStatus.FAILED, RuntimeStatus.DRAINING, RuntimeStatus.STARTING, RuntimeStatus.WARM)


@dataclass(frozen=True)
class Runtime:
    """One version on one slot. `address` and `pid` are those of its worker, once it has one.

    A worker on another machine has no `pid` here.
    """

    id: str
    slug: str
    model_version: str
    slot_id: str
    target: Target
    status: RuntimeStatus
    created_at: datetime
    last_used_at: datetime
    keep_warm: bool = False
    address: str | None = None
    pid: int | None = None
    start_phase: str = ""
    start_message: str = ""
    start_done_bytes: float | None = None
    start_total_bytes: float | None = None
    idle_release_seconds: float | None = None
    """How long it stays warm without work; None for the installation's own."""
    usd_per_hour: float | None = None
    startup_ms: int | None = None
    software: Mapping[str, str] = field(default_factory=dict)
    """What its results rely on besides the inputs: weights, libraries, device."""
    has_run: bool = False
    """Whether a render has come to its end on it: the first one pays for what later ones find done."""
    render_id: str | None = None

    @property
    def occupies_slot(self) -> bool:
        """Whether its slot is taken: after a failed start until its render has been told of it."""
        return self.status is not RuntimeStatus.FAILED or self.is_busy

    @property
    def is_busy(self) -> bool:
        """Whether a render is its now, also while it starts for one."""
        return self.render_id is not None

    @property
    def is_idle(self) -> bool:
        """Whether it is warm and waits for work."""
        return self.status is RuntimeStatus.WARM and not self.is_busy

    def runs(self, slug: str, model_version: str) -> bool:
        """Whether this is a runtime of that version."""
        return (self.slug, self.model_version) == (slug, model_version)

    def moved(self, to: RuntimeStatus, **changes: Any) -> "Runtime":
        """The runtime after a move. Illegal ones raise."""
        if to not in _MOVES[self.status]:
            raise ForgeError(f"a runtime cannot go from {self.status} to {to}")
        return replace(self, status=to, **changes)


def family_status(runtimes: list[Runtime]) -> str:
    """How warm a version is: its warmest runtime, or cold without one."""
    if not runtimes:
        return "cold"
    return max((runtime.status for runtime in runtimes), key=_WARMTH.index).value
