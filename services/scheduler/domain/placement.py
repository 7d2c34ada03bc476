"""Where a render goes: a pure choice over what the fleet is doing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.scheduler.domain.demand import Demand
from services.scheduler.domain.durations import Span
from services.scheduler.domain.facts import Prefer
from services.scheduler.domain.fleet import Fleet, Slot, SlotKind, Target
from services.scheduler.domain.occupancy import Occupancy
from services.scheduler.domain.runtime import Runtime

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

    def seconds_p90(self, *, is_cold: bool) -> float:
        """Device time that nine of ten renders stay within, a start included when it `is_cold`."""
        run = self.run.p90 if self.run else UNKNOWN_SECONDS
        start = self.start.p90 if self.start else UNKNOWN_SECONDS
        return run + start if is_cold else run

    def known_seconds(self, *, is_cold: bool) -> float | None:
        """Device time of a render, a start included when it `is_cold`; None where nobody knows it."""
        if self.run is None or (is_cold and self.start is None):
            return None
        return self.seconds + (self.start_seconds if is_cold else 0.0)

    def known_seconds_p90(self, *, is_cold: bool) -> float | None:
        """What nine of ten stay within; None where nobody knows it."""
        return None if self.known_seconds(is_cold=is_cold) is None else self.seconds_p90(is_cold=is_cold)

    def usd(self, *, is_cold: bool) -> float:
        """Cost of a render, a start included when it `is_cold`; infinite where nobody knows."""
        usd = self.cold_usd if is_cold else self.warm_usd
        return float("inf") if usd is None else usd


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

    occupancy: Occupancy
    vram_floor_gib: float
    expectations: Expectations
    lets_through: Callable[[Target], bool]
    """Whether the circuit of the version on a target does."""
    remaining: Callable[[Runtime], float | None]
    """Seconds until a runtime that is busy or starts can take the next render; None when nobody knows."""

    @property
    def fleet(self) -> Fleet:
        """The slots there are."""
        return self.occupancy.fleet

    def expectation(self, target: Target) -> Expectation:
        """What is known of a target."""
        return self.expectations.get(target, Expectation())


def place(demand: Demand, situation: Situation, *, ahead: int, finish_in: float | None = None) -> Take | Start | Wait:
    """Where a render goes that asks for `demand` when `ahead` others that ask the same wait before it.

    A warm runtime first. Then a start on a free slot, by what the request prefers, unless a warm one is expected to be
    free sooner. Then a start in place of the runtime that idles longest. A render that is wanted `finish_in` so many
    seconds goes to the cheapest of the warm runtimes and free slots that is expected to keep that, and to the fastest
    when none is.
    """
    kinds = situation.fleet.kinds_for(demand, situation.vram_floor_gib)
    if not kinds:
        return Wait(True, "no target that it may run on is offered any more")
    open_kinds = [kind for kind in kinds if situation.lets_through(kind.target)]
    if not open_kinds:
        return Wait(True, "every target it may run on is spared for a while: renders kept losing their workers there")
    occupancy, version = situation.occupancy, (demand.slug, demand.model_version)
    ready, free = occupancy.ready(version, open_kinds), occupancy.free(open_kinds)
    if finish_in is not None and (ready or free):
        return _in_time(situation, ready, free, finish_in)
    if ready:
        chosen = min(ready, key=lambda r: (_preference(demand, situation, r.target), -r.last_used_at.timestamp(), r.id))
        return Take(chosen, f"a warm runtime was idle on {chosen.target}")
    if unclaimed := occupancy.unclaimed(version, open_kinds):
        oldest = min(unclaimed, key=lambda runtime: runtime.id)
        return Take(oldest, f"a runtime is starting on {oldest.target} already")
    if free:
        places = situation.fleet.places
        best = min(free, key=lambda s: (_preference(demand, situation, s.target, is_cold=True), places[s.id]))
        soonest = _soonest(list(occupancy.usable(version, open_kinds)), situation, ahead)
        start_seconds = situation.expectation(best.target).start_seconds
        if soonest is not None and soonest <= start_seconds:
            why = f"a warm runtime is expected to be free in {soonest:.0f} s; a start takes {start_seconds:.0f} s"
            return Wait(False, why)
        return Start(best, None, _why_here(demand, best, free))
    idle = occupancy.evictable(open_kinds)
    if idle and not demand.in_the_background:
        evicted = min(idle, key=lambda runtime: (runtime.last_used_at, runtime.id))
        slot = situation.fleet.slots[situation.fleet.places[evicted.slot_id]]
        return Start(slot, evicted, f"the runtime that was idle longest made room on {evicted.target}")
    return Wait(True, _why_full(kinds, situation))


def _in_time(situation: Situation, ready: Sequence[Runtime], free: Sequence[Slot], finish_in: float) -> Take | Start:
    """The cheapest choice whose start and run are over in time in nine of ten cases; else the fastest."""
    choices: list[tuple[Runtime | Slot, Target, bool]] = [(runtime, runtime.target, False) for runtime in ready]
    choices += [(slot, slot.target, True) for slot in free]

    def order(choice: tuple[Runtime | Slot, Target, bool]) -> tuple[bool, float, float]:
        _, target, is_cold = choice
        expectation = situation.expectation(target)
        seconds, usd = expectation.seconds_p90(is_cold=is_cold), expectation.usd(is_cold=is_cold)
        is_late = seconds > finish_in
        return (True, seconds, usd) if is_late else (False, usd, seconds)

    place_, target, is_cold = min(choices, key=order)
    seconds = situation.expectation(target).seconds_p90(is_cold=is_cold)
    verdict = f"the cheapest target expected to be done in {finish_in:.0f} s"
    if seconds > finish_in:
        verdict = f"the fastest target: none is expected to be done in {finish_in:.0f} s"
    if isinstance(place_, Slot):
        return Start(place_, None, f"started on {target}, {verdict}")
    return Take(place_, f"a warm runtime was idle on {target}, {verdict}")


def _preference(demand: Demand, situation: Situation, target: Target, *, is_cold: bool = False) -> float:
    """What there should be little of: money or time. The fleet's own order decides among equals."""
    expectation = situation.expectation(target)
    if demand.prefer is Prefer.FASTEST:
        return expectation.seconds + (expectation.start_seconds if is_cold else 0.0)
    return float("inf") if expectation.warm_usd is None else expectation.warm_usd


def _soonest(mine: Sequence[Runtime], situation: Situation, ahead: int) -> float | None:
    """When a runtime is free for somebody who has `ahead` before them; None when nobody knows."""
    known = [(situation.remaining(runtime), runtime.target) for runtime in mine]
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


def _why_full(kinds: Sequence[SlotKind], situation: Situation) -> str:
    targets = ", ".join(sorted({str(kind.target) for kind in kinds}))
    absent = sum(situation.occupancy.count_absent(kind) for kind in kinds)
    count = sum(len(kind.slots) for kind in kinds) - absent
    if not count:
        return f"no machine with {targets} is there"
    kept = situation.occupancy.count_kept_idle(kinds)
    busy = f"all {count} slots of {targets} are busy" if count > 1 else f"the slot of {targets} is busy"
    return f"{busy}, {kept} of them kept warm for other versions" if kept else busy
