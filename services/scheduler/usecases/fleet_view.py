"""The fleet, as developers and operators see it: status, start, stop, capacity."""

from dataclasses import dataclass

from services.scheduler.domain.fleet import Pin, Target
from services.scheduler.domain.render import RenderStatus
from services.scheduler.domain.runtime import Runtime
from services.scheduler.ports import Catalog, Estimates, RenderStore, Version
from services.scheduler.usecases.runtimes import Runtimes


@dataclass(frozen=True)
class TargetView:
    """What a target has and what is free there now."""

    target: Target
    total_slots: int
    free_slots: int
    idle_runtimes: int
    busy_runtimes: int
    queued_renders: int


class FleetView:
    """Families and capacity."""

    def __init__(self, *, runtimes: Runtimes, catalog: Catalog, estimates: Estimates, store: RenderStore) -> None:
        self._runtimes = runtimes
        self._catalog = catalog
        self._estimates = estimates
        self._store = store

    async def family(self, slug: str, model_version: str) -> tuple[Version, list[tuple[Runtime, float | None]]]:
        """A version's runtimes, each with the seconds until it frees its slot. MODEL_NOT_FOUND, VERSION_NOT_FOUND."""
        version = await self._catalog.version(slug, model_version or None)
        mine = [r for r in self._runtimes.all() if r.runs(version.slug, version.model_version)]
        return version, [(runtime, self._runtimes.idle_release_seconds(runtime)) for runtime in mine]

    async def start(self, slug: str, model_version: str, pin: Pin, *, keep_warm: bool) -> tuple[Runtime, bool]:
        """A warm runtime, and whether it had to be started. The errors of the contract's StartRuntime."""
        version = await self._checked(slug, model_version, pin)
        costs = await self._estimates.request_cost_usd(version.slug, version.model_version)
        return await self._runtimes.start(version, pin, costs, keep_warm=keep_warm)

    async def stop(self, slug: str, model_version: str, pin: Pin) -> tuple[Version, int]:
        """Stop the idle runtimes of a version. The errors of the contract's StopRuntime."""
        version = await self._checked(slug, model_version, pin)
        return version, await self._runtimes.stop(version, pin)

    async def capacity(self) -> list[TargetView]:
        """What every target of the fleet has now."""
        queued = await self._store.with_status(RenderStatus.QUEUED)
        free = self._runtimes.free_slots()
        runtimes = self._runtimes.all()
        return [
            TargetView(
                target=target,
                total_slots=sum(slot.target == target for slot in self._runtimes.fleet.slots),
                free_slots=sum(slot.target == target for slot in free),
                idle_runtimes=sum(r.target == target and r.is_idle for r in runtimes),
                busy_runtimes=sum(r.target == target and r.is_busy for r in runtimes),
                queued_renders=sum(r.pin != Pin() and r.pin.admits(target) for r in queued),
            )
            for target in self._runtimes.fleet.targets
        ]

    async def _checked(self, slug: str, model_version: str, pin: Pin) -> Version:
        version = await self._catalog.version(slug, model_version or None)
        self._runtimes.fleet.check(pin, version.vram_floor_gib, version.known_targets)
        return version
