"""What the scheduler can tell of the future: who runs where next, when, and why not now."""

import heapq
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from services.chassis.errors import ForgeError
from services.scheduler.domain.circuit import Circuits, OpenCircuit
from services.scheduler.domain.demand import Demand, Entry, entry_of
from services.scheduler.domain.durations import Durations, Span
from services.scheduler.domain.fleet import Fleet, SlotKind, Target
from services.scheduler.domain.placement import Expectation, Expectations, Situation, Wait, place
from services.scheduler.domain.render import Render, RenderStatus
from services.scheduler.domain.runtime import Runtime, RuntimeStatus
from services.scheduler.domain.shares import Shares
from services.scheduler.ports import Catalog, Clock, Estimate, Estimates, Version
from services.scheduler.usecases.queue import Queue
from services.scheduler.usecases.runtimes import Runtimes

Remaining = Callable[[str], float | None]
"""Seconds until the attempt at a render is expected to be over; None when nobody knows."""


class Outlook:
    """Expectations of a version, the situation of the fleet, and what both mean for those that wait."""

    def __init__(
        self,
        *,
        queue: Queue,
        runtimes: Runtimes,
        durations: Durations,
        circuits: Circuits,
        shares: Shares,
        catalog: Catalog,
        estimates: Estimates,
        clock: Clock,
        remaining: Remaining,
        at_their_limit: Callable[[], Collection[str]],
    ) -> None:
        self._queue = queue
        self._runtimes = runtimes
        self._durations = durations
        self._circuits = circuits
        self._shares = shares
        self._catalog = catalog
        self._estimates = estimates
        self._clock = clock
        self._remaining = remaining
        self._at_their_limit = at_their_limit
        """The accounts that run as many renders at once as they may."""

    @property
    def fleet(self) -> Fleet:
        """The slots there are."""
        return self._runtimes.fleet

    async def expectations(self, version: Version, shape: Mapping[str, Any] | None = None) -> Expectations:
        """What a render of a version, with inputs of this shape, is expected to take on each target of the fleet.

        What follows from measured runs counts first, then what was seen here of any shape, then published figures. An
        imitated device says something about other imitated ones.
        """
        known = await self._estimates.of(version.slug, version.model_version, shape)
        seen = self._seen_on_imitations(version)
        found: dict[Target, Expectation] = {}
        for target in self.fleet.targets:
            key = (version.slug, version.model_version, target)
            estimate = known.get((target.gpu_type, target.region))
            run, start = self._durations.run(key), self._durations.start(key)
            if target.simulated:
                run, start = run or seen[0], start or seen[1]
            found[target] = Expectation(
                run=_of_its_shape(estimate) or run or _point(estimate and estimate.request_seconds),
                start=start or _point(estimate and estimate.start_seconds),
                warm_usd=estimate and estimate.warm_usd,
                cold_usd=estimate and estimate.cold_usd,
                usd_per_hour=estimate and estimate.usd_per_hour,
            )
        return found

    async def situation(self, version: Version, shape: Mapping[str, Any] | None = None) -> Situation:
        """What the fleet is doing, as far as a render of a version with inputs of this shape is concerned."""
        expectations = await self.expectations(version, shape)
        now = self._clock.monotonic()
        return Situation(
            occupancy=self._runtimes.occupancy,
            vram_floor_gib=version.vram_floor_gib,
            expectations=expectations,
            lets_through=lambda target: self._circuits.lets_through((version.slug, version.model_version, target), now),
            remaining=lambda runtime: self._free_in(runtime, expectations),
        )

    async def stands(self, render: Render) -> Render:
        """A render with its present place in the queue, when it is expected to end, and why it waits."""
        entry = self._queue.entry(render.id)
        if render.status is not RenderStatus.QUEUED or entry is None:
            return render
        try:
            version = await self._catalog.version(render.slug, render.model_version)
        except ForgeError:
            return replace(render, explanation="waits: the catalogue does not answer")
        situation = await self.situation(version, render.shape)
        if (entry := self._queue.entry(render.id)) is None:  # it was placed meanwhile
            return render
        return self._foreseen(render, entry, situation)

    async def foreseen(self, render: Render, version: Version) -> Render:
        """A render that is about to be accepted, with the place it will have in the queue and when it may end."""
        return self._foreseen(render, entry_of(render), await self.situation(version, render.shape))

    async def drain_seconds(self, version: Version, demand: Demand) -> float:
        """How long the queue before a new render with this demand is expected to take."""
        situation = await self.situation(version)
        rivals = self._rivals(demand, situation)
        ahead = sum(count for other, count in self._queue.counts().items() if other in rivals)
        wait = self._wait(demand, situation, ahead + 1)
        return wait.p50 if wait else 0.0

    async def queued_seconds_per_slot(self, version: Version, demand: Demand) -> float:
        """Device time that waits for each slot a new render with this demand may run on."""
        situation = await self.situation(version)
        slots = sum(len(kind.slots) for kind in self.fleet.kinds_for(demand, version.vram_floor_gib))
        return self._queued_seconds(self._rivals(demand, situation), situation) / max(1, slots)

    def queued_seconds_only_for(self, target: Target) -> float:
        """Device time that the queued renders are expected to take which can run on this target only."""
        total = 0.0
        for demand, count in self._queue.counts().items():
            targets = {kind.target for kind in self.fleet.kinds_admitted(demand)}
            if targets == {target}:
                span = self._durations.run((demand.slug, demand.model_version, target))
                total += count * (span.p50 if span else Expectation().seconds)
        return total

    def open_circuits(self) -> Sequence[OpenCircuit]:
        """The versions that targets are spared from now."""
        now = self._clock.now()
        return [
            OpenCircuit(slug, model_version, target, now + timedelta(seconds=seconds))
            for (slug, model_version, target), seconds in self._circuits.open(self._clock.monotonic()).items()
        ]

    def finish_in(self, entry: Entry) -> float | None:
        """How soon a render that waits is wanted, in seconds from now; None when it is not wanted at any time."""
        if entry.finish_by is None:
            return None
        return max(0.0, (entry.finish_by - self._clock.now()).total_seconds())

    def _foreseen(self, render: Render, entry: Entry, situation: Situation) -> Render:
        position = self._queue.position(entry, self._rivals(entry.demand, situation))
        wait = self._wait(entry.demand, situation, position)
        progress = replace(
            render.progress,
            queue_position=position,
            eta_seconds_p50=wait and wait.p50,
            eta_seconds_p90=wait and wait.p90,
        )
        return replace(render, progress=progress, explanation=self._explain(entry, situation, position))

    def _rivals(self, demand: Demand, situation: Situation) -> set[Demand]:
        """The demands that could be met by a slot that could meet this one."""
        mine = set(self.fleet.kinds_for(demand, situation.vram_floor_gib))
        return {demand} | {
            other for other in self._queue.counts() if not mine.isdisjoint(self.fleet.kinds_admitted(other))
        }

    def _queued_seconds(self, rivals: set[Demand], situation: Situation) -> float:
        seconds = min((e.seconds for e in situation.expectations.values()), default=Expectation().seconds)
        return sum(count * seconds for demand, count in self._queue.counts().items() if demand in rivals)

    def _wait(self, demand: Demand, situation: Situation, position: int) -> Span | None:
        """When a render at this place of the queue is expected to end, in seconds from now."""
        kinds = self.fleet.kinds_for(demand, situation.vram_floor_gib)
        if not kinds:
            return None
        p50, p90 = (self._ends(demand, situation, kinds, position, quantile) for quantile in ("p50", "p90"))
        return None if p50 is None or p90 is None else Span(p50, max(p50, p90))

    def _ends(
        self, demand: Demand, situation: Situation, kinds: Sequence[SlotKind], position: int, quantile: str
    ) -> float | None:
        """When it is expected to end if the slots of these kinds serve one render after the other; None for none."""
        free_at: list[tuple[float, float]] = []
        for kind in kinds:
            expectation = situation.expectation(kind.target)
            run: float = getattr(expectation.run, quantile) if expectation.run else expectation.seconds
            free_at += [(expectation.start_seconds, run)] * situation.occupancy.count_free(kind)
            for runtime in situation.occupancy.occupying(kind):
                begins = situation.remaining(runtime) or 0.0
                if not runtime.runs(demand.slug, demand.model_version):
                    begins += expectation.start_seconds
                free_at.append((begins, run))
        if not free_at:  # none of their machines is there
            return None
        begins, run = _nth_turn(free_at, position)
        return round(begins + run, 1)

    def _free_in(self, runtime: Runtime, expectations: Expectations) -> float | None:
        """Seconds until a runtime can take the next render; None when nobody knows."""
        if runtime.status is RuntimeStatus.WARM and runtime.render_id is None:
            return 0.0
        expectation = expectations.get(runtime.target, Expectation())
        left = 0.0
        if (so_far := self._runtimes.starting_for(runtime.id)) is not None:
            if expectation.start is None:
                return None
            left = max(0.0, expectation.start_seconds - so_far)
        if runtime.render_id is None:
            return left
        remaining = self._remaining(runtime.render_id)
        if remaining is None:
            remaining = expectation.run.p50 if expectation.run and left else None
        return None if remaining is None else left + remaining

    def _explain(self, entry: Entry, situation: Situation, position: int) -> str:
        choice = place(entry.demand, situation, ahead=position - 1, finish_in=self.finish_in(entry))
        why = choice.why if isinstance(choice, Wait) else "it is about to be placed"
        if entry.account in self._at_their_limit():
            why = "its account runs as many renders at once as it may"
        place_words = "it is next" if position == 1 else f"{position - 1} are before it"
        used = self._shares.used(entry.account, self._clock.monotonic())
        share = f"; its account has used {used:.0f} GPU-seconds lately, those that used less go first" if used else ""
        return f"waits: {place_words}; {why}{share}"

    def _seen_on_imitations(self, version: Version) -> tuple[Span | None, Span | None]:
        keys = [(version.slug, version.model_version, t) for t in self.fleet.targets if t.simulated]
        runs = [span for key in keys if (span := self._durations.run(key))]
        starts = [span for key in keys if (span := self._durations.start(key))]
        return (runs[0] if runs else None), (starts[0] if starts else None)


def _nth_turn(free_at: list[tuple[float, float]], position: int) -> tuple[float, float]:
    """When the render at this place begins, and how long it runs, if each takes the slot that is free first.

    `free_at` says of each slot when it is free and how long a render runs on it. However long the queue is, each slot
    is looked at a few times: what surely begins before is not gone through one by one.
    """
    rate = sum(1.0 / run for _, run in free_at if run > 0)
    if rate and position > 2 * len(free_at) and all(run > 0 for _, run in free_at):
        until = (position - 1 - len(free_at)) / rate  # by then no more than `position - 1` have begun
        rounds = [max(0, math.floor((until - begins) / run) + 1) for begins, run in free_at]
        free_at = [(begins + n * run, run) for n, (begins, run) in zip(rounds, free_at, strict=True)]
        position -= sum(rounds)
    heapq.heapify(free_at)
    for _ in range(position - 1):
        begins, run = free_at[0]
        heapq.heapreplace(free_at, (begins + run, run))
    return free_at[0]


def _of_its_shape(estimate: Estimate | None) -> Span | None:
    """How long inputs like these take, where runs were measured that say so."""
    if estimate is None or not estimate.rests_on_runs or estimate.request_seconds is None:
        return None
    return Span(estimate.request_seconds, estimate.request_seconds_p90 or estimate.request_seconds)


def _point(seconds: float | None) -> Span | None:
    """A duration of which only one figure is known."""
    return None if seconds is None else Span(seconds, 1.5 * seconds)
