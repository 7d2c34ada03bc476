"""Where a render goes: a pure choice over what the fleet is doing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.scheduler.domain.demand import Demand
from services.scheduler.domain.durations import Span
from services.scheduler.domain.facts import Prefer
from services.scheduler.domain.fleet import Fleet, Slot, Target
from services.scheduler.domain.runtime import Runtime, RuntimeStatus

UNKNOWN_SECONDS = 60.0
"""What a render or a start is taken to last where nobody knows."""


@dataclass(frozen=True)
class Expectation:
    """What a render of one version is expected to take on one target. None for what nobody knows.

    `warm_usd` and `cold_usd` are the cost of a render without and with a start before it.
    """

    run: Span | None = None
    start: Span | None = None
    warm_usd: float | None = None
    cold_usd: float | None = None
    usd_per_hour: float | None = None

    @property
    def seconds(self) -> float:
        """Device time of a render on a warm runtime."""
        return self.run.p50 if self.run else UNKNOWN_SECONDS

    @property
    def start_seconds(self) -> float:
        """Time of a start."""
        return self.start.p50 if self.start else UNKNOWN_SECONDS


Expectations = Mapping[Target, Expectation]


@dataclass(frozen=True)
class Take:
    """Go to this runtime, which is warm and idle or starts for nobody."""

    runtime: Runtime
    why: str


@dataclass(frozen=True)
class Start:
    """Start a runtime on this slot, in place of `evicted` if there is one."""

    slot: Slot
    evicted: Runtime | None
    why: str


@dataclass(frozen=True)
class Wait:
    """Wait. `is_full` when a further render that asks the same would wait too."""

    is_full: bool
    why: str


@dataclass(frozen=True)
class Situation:
    """What the fleet is doing, as far as one version is concerned."""

    fleet: Fleet
    runtimes: Sequence[Runtime]
    vram_floor_gib: float
    expectations: Expectations
    lets_through: Callable[[Target], bool]
    """Whether the circuit of the version on a target does."""
    remaining: Callable[[Runtime], float | None]
    """Seconds until a runtime that is busy or starts can take the next render; None when nobody knows."""

    def expectation(self, target: Target) -> Expectation:
        """What is known of a target."""
        return self.expectations.get(target, Expectation())


def place(demand: Demand, situation: Situation, *, ahead: int) -> Take | Start | Wait:
    """Where a render goes that asks for `demand` when `ahead` others that ask the same wait before it.

    A warm runtime first. Then a start on a free slot, by what the request prefers, unless a warm one is expected to be
    free sooner. Then a start in place of the runtime that idles longest.
    """
    slots = {slot.id: slot for slot in situation.fleet.slots_for(demand, situation.vram_floor_gib)}
    if not slots:
        return Wait(True, "no target that it may run on is offered any more")
    open_slots = {name: slot for name, slot in slots.items() if situation.lets_through(slot.target)}
    if not open_slots:
        return Wait(True, "every target it may run on is spared for a while: renders kept losing their workers there")
    mine = [
        runtime
        for runtime in situation.runtimes
        if runtime.runs(demand.slug, demand.model_version) and runtime.slot_id in open_slots
    ]
    ready = [runtime for runtime in mine if runtime.is_idle]
    if ready:
        chosen = min(ready, key=lambda r: (_preference(demand, situation, r.target), -r.last_used_at.timestamp(), r.id))
        return Take(chosen, f"a warm runtime was idle on {chosen.target}")
    unclaimed = [r for r in mine if r.status is RuntimeStatus.STARTING and not r.is_busy]
    if unclaimed:
        return Take(unclaimed[0], f"a runtime is starting on {unclaimed[0].target} already")
    taken = {runtime.slot_id for runtime in situation.runtimes if runtime.occupies_slot}
    free = [slot for name, slot in open_slots.items() if name not in taken]
    if free:
        best = min(free, key=lambda slot: _preference(demand, situation, slot.target, is_cold=True))
        soonest = _soonest(mine, situation, ahead)
        start_seconds = situation.expectation(best.target).start_seconds
        if soonest is not None and soonest <= start_seconds:
            why = f"a warm runtime is expected to be free in {soonest:.0f} s; a start takes {start_seconds:.0f} s"
            return Wait(False, why)
        return Start(best, None, _why_here(demand, best, free))
    idle = [r for r in situation.runtimes if r.is_idle and not r.keep_warm and r.slot_id in open_slots]
    if idle and not demand.in_the_background:
        evicted = min(idle, key=lambda runtime: (runtime.last_used_at, runtime.id))
        why = f"the runtime that was idle longest made room on {evicted.target}"
        return Start(open_slots[evicted.slot_id], evicted, why)
    return Wait(True, _why_full(slots, situation))


def _preference(demand: Demand, situation: Situation, target: Target, *, is_cold: bool = False) -> float:
    """What there should be little of: money or time. The fleet's own order decides among equals."""
    expectation = situation.expectation(target)
    if demand.prefer is Prefer.FASTEST:
        return expectation.seconds + (expectation.start_seconds if is_cold else 0.0)
    return float("inf") if expectation.warm_usd is None else expectation.warm_usd


def _soonest(mine: Sequence[Runtime], situation: Situation, ahead: int) -> float | None:
    """When a warm runtime of the version is free for somebody who has `ahead` before them; None when nobody knows."""
    usable = (RuntimeStatus.STARTING, RuntimeStatus.WARM)
    known = [(situation.remaining(r), r.target) for r in mine if r.status in usable]
    times = sorted((seconds, target) for seconds, target in known if seconds is not None)
    if not times:
        return None
    seconds, target = times[ahead % len(times)]
    return seconds + ahead // len(times) * situation.expectation(target).seconds


def _why_here(demand: Demand, slot: Slot, free: Sequence[Slot]) -> str:
    targets = {other.target for other in free}
    if len(targets) == 1:
        return f"started on {slot.target}, where a slot was free"
    return f"started on {slot.target}, the {demand.prefer} of {len(targets)} free targets"


def _why_full(slots: Mapping[str, Slot], situation: Situation) -> str:
    targets = ", ".join(sorted({str(slot.target) for slot in slots.values()}))
    kept = sum(r.is_idle and r.keep_warm and r.slot_id in slots for r in situation.runtimes)
    busy = f"all {len(slots)} slots of {targets} are busy" if len(slots) > 1 else f"the slot of {targets} is busy"
    return f"{busy}, {kept} of them kept warm for other versions" if kept else busy
