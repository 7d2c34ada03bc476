"""The fleet at a glance: what each target does, and what failed lately."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MOST_SLOTS = 64
_MOST_FAILURES = 20
_FAILED = frozenset({"failed", "lost"})


@dataclass(frozen=True)
class TargetView:
    """A target: its capacity as the contract has it, and the runtimes on it."""

    capacity: Mapping[str, Any]
    runtimes: tuple[Mapping[str, Any], ...]

    @property
    def used_slots(self) -> int:
        """Slots that something occupies."""
        return _used(self.capacity)

    @property
    def slots(self) -> tuple[str, ...]:
        """One word a slot: busy, warm, starting (or ending), free, absent. A large target shows its first ones."""
        busy, idle = self.capacity["busy_runtimes"], self.capacity["idle_runtimes"]
        other = max(0, self.used_slots - busy - idle)
        words = ["busy"] * busy + ["warm"] * idle + ["starting"] * other
        words += ["free"] * self.capacity["free_slots"] + ["absent"] * self.capacity.get("absent_slots", 0)
        return tuple(words[:_MOST_SLOTS])


@dataclass(frozen=True)
class Sums:
    """The whole fleet in numbers."""

    slots: int
    used: int
    absent: int
    busy: int
    idle: int
    queued: int


def targets_of(capacity: Iterable[Mapping[str, Any]], runtimes: Sequence[Mapping[str, Any]]) -> list[TargetView]:
    """The targets in their order, each with its runtimes: those at work first."""
    return [
        TargetView(
            target,
            tuple(
                sorted(
                    (runtime for runtime in runtimes if _place(runtime) == _place(target)),
                    key=lambda runtime: (not runtime["busy"], runtime["status"], runtime["slug"], runtime["id"]),
                )
            ),
        )
        for target in capacity
    ]


def sums_of(targets: Iterable[TargetView]) -> Sums:
    """All targets together."""
    found = [target.capacity for target in targets]
    slots = sum(target["total_slots"] for target in found)
    return Sums(
        slots=slots,
        used=sum(_used(target) for target in found),
        absent=sum(target.get("absent_slots", 0) for target in found),
        busy=sum(target["busy_runtimes"] for target in found),
        idle=sum(target["idle_runtimes"] for target in found),
        queued=sum(target["queued_renders"] for target in found),
    )


def failures_of(measurements: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Attempts that failed or lost their worker, newest first."""
    failed = [found for found in measurements if found["outcome"] in _FAILED]
    return sorted(failed, key=lambda found: found.get("measured_at", ""), reverse=True)[:_MOST_FAILURES]


def _used(target: Mapping[str, Any]) -> int:
    return target["total_slots"] - target["free_slots"] - target.get("absent_slots", 0)


def _place(found: Mapping[str, Any]) -> tuple[str, str]:
    return found["gpu_type"], found["region"]
