"""Ending what nobody tends: leases that are over, and waits that are too long."""

import structlog

from services.chassis.storage import StoreUnavailable
from services.scheduler.domain.facts import Phase
from services.scheduler.domain.render import ACTIVE, WAITING, Render, RenderStatus
from services.scheduler.ports import Clock, RenderStore
from services.scheduler.usecases.dispatcher import Dispatcher
from services.scheduler.usecases.queue import Queue
from services.scheduler.usecases.renders import Renders

log = structlog.get_logger()

REAP_SECONDS = 1.8
"""What is over is noticed within two seconds: that is this and the time that a round takes."""
PAUSED_EVERY = 15
"""Paused renders are looked at in every so many rounds."""


class Reaper:
    """Looks at the store again and again. Attempts of this process watch their own leases."""

    def __init__(
        self, *, store: RenderStore, renders: Renders, queue: Queue, dispatcher: Dispatcher, clock: Clock
    ) -> None:
        self._store = store
        self._renders = renders
        self._queue = queue
        self._dispatcher = dispatcher
        self._clock = clock

    async def run(self) -> None:
        """Reap until canceled."""
        rounds = 0
        while True:
            try:
                await self._give_up_queued()
                await self._take_back_abandoned()
                if rounds % PAUSED_EVERY == 0:
                    await self._give_up_paused()
            except StoreUnavailable:
                log.warning("nothing reaped: the store is not available")
            rounds += 1
            await self._clock.sleep(REAP_SECONDS)

    async def _give_up_queued(self) -> None:
        for render_id in list(self._queue.overdue(self._clock.now())):
            await self._renders.advance(render_id, self._expired, "nothing was free in time")

    async def _give_up_paused(self) -> None:
        now = self._clock.now()
        for render in await self._store.with_status(RenderStatus.PAUSED):
            if render.give_up_at is not None and render.give_up_at <= now:
                await self._renders.advance(render.id, self._expired, "it was paused for too long")

    async def _take_back_abandoned(self) -> None:
        now = self._clock.now()
        for render in await self._store.overdue(now):
            if self._dispatcher.runs(render.id):
                continue
            log.warning("lease over", render_id=render.id, epoch=render.epoch)
            await self._renders.advance(
                render.id,
                lambda render: render.lost(now, "its lease was over") if render.status in ACTIVE else None,
                "its lease was over",
                epoch=render.epoch,
            )

    def _expired(self, render: Render) -> Render | None:
        now = self._clock.now()
        if render.status not in WAITING or render.give_up_at is None or render.give_up_at > now:
            return None
        return render.ended(RenderStatus.EXPIRED, now, phase=Phase.DONE)
