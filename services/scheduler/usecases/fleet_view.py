"""The fleet, as developers and operators see it: status, start, stop, capacity."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from services.chassis.errors import InvalidInput, Violation
from services.chassis.tasks import set_or_after
from services.scheduler.domain.circuit import OpenCircuit
from services.scheduler.domain.demand import Demand
from services.scheduler.domain.errors import NoFreeSlot, RuntimeBusy, RuntimeStartFailed
from services.scheduler.domain.facts import Prefer
from services.scheduler.domain.fleet import Pin, Target
from services.scheduler.domain.placement import Start, Take, place
from services.scheduler.domain.runtime import Runtime, RuntimeStatus
from services.scheduler.ports import Catalog, Clock, Version
from services.scheduler.usecases.giving_way import GivingWay
from services.scheduler.usecases.outlook import Outlook
from services.scheduler.usecases.queue import Queue
from services.scheduler.usecases.runtimes import Runtimes

KEEP_ALIVE_SECONDS = 15.0
LOOK_AGAIN_SECONDS = 1.0
"""How often a start that waits for a probe to give way looks even when nothing has changed."""
MAX_IDLE_RELEASE_SECONDS = 86_400.0


@dataclass(frozen=True)
class RuntimeView:
    """A runtime, and what follows from how long it has been there."""

    runtime: Runtime
    idle_release_seconds: float | None
    cost_so_far_usd: float | None


@dataclass(frozen=True)
class TargetView:
    """What a target has and what is free there now."""

    target: Target
    total_slots: int
    absent_slots: int
    free_slots: int
    idle_runtimes: int
    busy_runtimes: int
    queued_renders: int
    queued_gpu_seconds: float
    open_circuits: Sequence[OpenCircuit]


class FleetView:
    """Families and capacity."""

    def __init__(
        self,
        *,
        runtimes: Runtimes,
        giving_way: GivingWay,
        catalog: Catalog,
        outlook: Outlook,
        queue: Queue,
        clock: Clock,
    ) -> None:
        self._runtimes = runtimes
        self._giving_way = giving_way
        self._catalog = catalog
        self._outlook = outlook
        self._queue = queue
        self._clock = clock

    async def family(self, slug: str, model_version: str) -> tuple[Version, list[RuntimeView]]:
        """A version's runtimes. MODEL_NOT_FOUND, VERSION_NOT_FOUND."""
        version = await self._catalog.version(slug, model_version or None)
        return version, self._views(version)

    async def watch(self, slug: str, model_version: str) -> AsyncGenerator[tuple[Version, list[RuntimeView]], None]:
        """A version's runtimes, again at each change and at least every 15 s. The errors of `family`, at once."""
        version = await self._catalog.version(slug, model_version or None)
        return self._follow(version)

    async def start(
        self, slug: str, model_version: str, pin: Pin, *, keep_warm: bool, idle_release_seconds: float | None
    ) -> tuple[Runtime, bool]:
        """A warm runtime, and whether it had to be started. The errors of the contract's StartRuntime."""
        if idle_release_seconds is not None and not 1 <= idle_release_seconds <= MAX_IDLE_RELEASE_SECONDS:
            words = f"must be from 1 to {MAX_IDLE_RELEASE_SECONDS:.0f}, or be left out"
            raise InvalidInput([Violation("idle_release_seconds", words)])
        version = await self._checked(slug, model_version, pin)
        mine = [runtime for runtime in self._runtimes.all() if _serves(runtime, version, pin)]
        warm = [runtime for runtime in mine if runtime.status is RuntimeStatus.WARM]
        if found := (*warm, *mine):
            runtime = found[0]
        else:
            runtime = await self._begin(version, pin)
        self._runtimes.note_use(runtime.id)
        await self._runtimes.keep(runtime, keep_warm=keep_warm, idle_release_seconds=idle_release_seconds)
        async for _ in self._runtimes.starting(runtime.id):
            pass
        current = self._runtimes.get(runtime.id)
        if current is None:
            raise RuntimeStartFailed("it was stopped", retry=True)
        return current, not warm

    async def stop(self, slug: str, model_version: str, pin: Pin) -> tuple[Version, int]:
        """Stop the idle runtimes of a version. The errors of the contract's StopRuntime."""
        version = await self._checked(slug, model_version, pin)
        mine = [runtime for runtime in self._runtimes.all() if _serves(runtime, version, pin)]
        if any(runtime.is_busy for runtime in mine):
            raise RuntimeBusy
        for runtime in self._runtimes.missed():
            if _serves(runtime, version, pin):
                await self._runtimes.miss_no_longer(runtime)
        await self._runtimes.end(mine)
        return version, len(mine)

    async def capacity(self) -> list[TargetView]:
        """What every target of the fleet has now."""
        free, runtimes, circuits = self._runtimes.free_slots(), self._runtimes.all(), self._outlook.open_circuits()
        queued = self._queue.counts()
        return [
            TargetView(
                target=target,
                total_slots=sum(slot.target == target for slot in self._runtimes.fleet.slots),
                absent_slots=self._runtimes.count_absent(target),
                free_slots=sum(slot.target == target for slot in free),
                idle_runtimes=sum(r.target == target and r.is_idle for r in runtimes),
                busy_runtimes=sum(r.target == target and r.is_busy for r in runtimes),
                queued_renders=sum(
                    count for demand, count in queued.items() if demand.pin != Pin() and demand.pin.admits(target)
                ),
                queued_gpu_seconds=self._outlook.queued_seconds_only_for(target),
                open_circuits=[circuit for circuit in circuits if circuit.target == target],
            )
            for target in self._runtimes.fleet.targets
        ]

    async def _begin(self, version: Version, pin: Pin) -> Runtime:
        """A runtime that starts, once a run of a probe has given way to it where nothing else is free. NoFreeSlot."""
        demand = Demand(version.slug, version.model_version, pin, Prefer.CHEAPEST)
        with self._giving_way.claim(demand):
            while True:
                news = self._runtimes.news
                situation = await self._outlook.situation(version)
                choice = place(demand, situation, ahead=0)
                if isinstance(choice, Take):
                    return choice.runtime
                if isinstance(choice, Start):
                    price = situation.expectation(choice.slot.target).usd_per_hour
                    return self._runtimes.begin(version, choice, render_id=None, usd_per_hour=price)
                if not await self._giving_way.make_room_for_start(demand, choice, situation):
                    raise NoFreeSlot(str(pin))
                await set_or_after(news, self._clock, LOOK_AGAIN_SECONDS)

    async def _follow(self, version: Version) -> AsyncGenerator[tuple[Version, list[RuntimeView]], None]:
        while True:
            news = self._runtimes.news
            yield version, self._views(version)
            with suppress(TimeoutError):
                async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                    await news.wait()

    def _views(self, version: Version) -> list[RuntimeView]:
        return [
            RuntimeView(runtime, self._runtimes.idle_release_seconds(runtime), self._cost_so_far(runtime))
            for runtime in self._runtimes.all()
            if runtime.runs(version.slug, version.model_version)
        ]

    def _cost_so_far(self, runtime: Runtime) -> float | None:
        if runtime.usd_per_hour is None:
            return None
        return max(0.0, (self._clock.now() - runtime.created_at).total_seconds()) * runtime.usd_per_hour / 3600

    async def _checked(self, slug: str, model_version: str, pin: Pin) -> Version:
        version = await self._catalog.version(slug, model_version or None)
        self._runtimes.fleet.check(pin, version.vram_floor_gib, version.known_targets)
        return version


def _serves(runtime: Runtime, version: Version, pin: Pin) -> bool:
    return (
        runtime.runs(version.slug, version.model_version)
        and pin.admits(runtime.target)
        and runtime.status in (RuntimeStatus.STARTING, RuntimeStatus.WARM)
    )
