"""Starting again what is to stay warm until it is stopped."""

import structlog

from services.chassis.errors import ForgeError
from services.scheduler.domain.demand import Demand
from services.scheduler.domain.facts import Prefer
from services.scheduler.domain.fleet import Pin
from services.scheduler.domain.placement import Take, Wait, place
from services.scheduler.domain.runtime import Runtime
from services.scheduler.ports import Catalog, Clock
from services.scheduler.usecases.outlook import Outlook
from services.scheduler.usecases.runtimes import Runtimes

log = structlog.get_logger()

AGAIN_SECONDS = 10.0
"""How often it is looked whether a slot is free for a runtime that is missed."""


class Keeping:
    """Replaces runtimes that are to run until stopped and whose workers are gone, on the target they were on."""

    def __init__(self, *, runtimes: Runtimes, catalog: Catalog, outlook: Outlook, clock: Clock) -> None:
        self._runtimes = runtimes
        self._catalog = catalog
        self._outlook = outlook
        self._clock = clock

    async def run(self) -> None:
        """Replace what is missed until canceled."""
        while True:
            for gone in self._runtimes.missed():
                try:
                    await self._replace(gone)
                except ForgeError as error:
                    log.warning("runtime still missed", runtime_id=gone.id, slug=gone.slug, reason=error.reason)
            await self._clock.sleep(AGAIN_SECONDS)

    async def _replace(self, gone: Runtime) -> None:
        """Have another runtime in place of one that is gone. Raises what keeps it from being started."""
        version = await self._catalog.version(gone.slug, gone.model_version)
        pin = Pin(gone.target.gpu_type, gone.target.region)
        demand = Demand(gone.slug, gone.model_version, pin, Prefer.CHEAPEST)
        situation = await self._outlook.situation(version)
        choice = place(demand, situation, ahead=0)
        if isinstance(choice, Wait):
            return
        if isinstance(choice, Take):
            other = choice.runtime
        else:
            price = situation.expectation(gone.target).usd_per_hour
            other = self._runtimes.begin(version, choice, render_id=None, usd_per_hour=price)
        async for _ in self._runtimes.starting(other.id):
            pass
        if self._runtimes.get(other.id) is not None:
            await self._runtimes.keep(other, keep_warm=True, idle_release_seconds=gone.idle_release_seconds)
            await self._runtimes.miss_no_longer(gone)
