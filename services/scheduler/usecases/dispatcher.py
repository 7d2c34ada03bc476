"""Which render runs next, and where."""

import asyncio
from datetime import timedelta

import structlog
from opentelemetry import trace

from services.chassis.errors import ForgeError
from services.chassis.telemetry import extract_context
from services.scheduler.domain.render import ACTIVE, Phase, Render, RenderStatus
from services.scheduler.domain.runtime import RuntimeStatus
from services.scheduler.ports import Bell, Catalog, Clock, Costs, Estimates, RenderStore
from services.scheduler.usecases.attempt import LEASE, Attempt, AttemptFactory
from services.scheduler.usecases.runtimes import Runtimes

log = structlog.get_logger()
tracer = trace.get_tracer("forge.scheduler")

POLL_SECONDS = 1.0
"""The queue is looked at this often even when nobody rings: the store is the truth."""


class Dispatcher:
    """Gives queued renders, oldest first, to runtimes, and keeps the attempts that run."""

    def __init__(
        self,
        *,
        store: RenderStore,
        runtimes: Runtimes,
        catalog: Catalog,
        estimates: Estimates,
        bell: Bell,
        clock: Clock,
        attempts: AttemptFactory,
        news: asyncio.Event,
    ) -> None:
        self._store = store
        self._runtimes = runtimes
        self._catalog = catalog
        self._estimates = estimates
        self._bell = bell
        self._clock = clock
        self._new_attempt = attempts
        self._news = news
        self._running: dict[str, tuple[Attempt, asyncio.Task[None]]] = {}

    def wake(self) -> None:
        """Say that the queue or the fleet has changed."""
        self._news.set()

    def cancel(self, render_id: str) -> None:
        """Tell the attempt of a render, if one runs, that the render is to end."""
        if running := self._running.get(render_id):
            running[0].cancel()

    async def recover(self) -> None:
        """Go on with what an earlier scheduler left: re-join attempts whose workers live, queue the others again."""
        active = await self._store.with_status(*ACTIVE)
        await self._runtimes.recover({r.runtime_id: r.id for r in active if r.runtime_id is not None})
        for render in active:
            runtime = self._runtimes.get(render.runtime_id or "")
            if runtime is not None and render.phase is not Phase.STARTING:
                self._spawn(render)
                if render.status is RenderStatus.CANCELING:
                    self.cancel(render.id)
            else:
                if runtime is not None:
                    self._runtimes.release(runtime.id, render.id)
                await self._store.advance(
                    render.id, lambda r: r.lost(self._clock.now()), "the worker was lost", epoch=render.epoch
                )

    async def run(self) -> None:
        """Place renders until canceled; then every attempt is released."""
        try:
            while True:
                self._news.clear()
                for render in await self._store.with_status(RenderStatus.QUEUED):
                    await self._place(render)
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._news.wait()
                except TimeoutError:
                    continue
        finally:
            tasks = [task for _, task in self._running.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _place(self, render: Render) -> None:
        now = self._clock.now()
        if render.expires_at is not None and render.expires_at <= now:
            await self._expire(render.id)
            return
        try:
            version = await self._catalog.version(render.slug, render.model_version)
        except ForgeError as error:
            log.warning("render cannot be placed now", render_id=render.id, reason=error.reason)
            return
        costs = await self._estimates.request_cost_usd(render.slug, render.model_version)
        runtime = self._runtimes.claim(version, render.pin, render.id, costs)
        if runtime is None:
            return
        cold = runtime.status is RuntimeStatus.STARTING
        leased = await self._store.advance(
            render.id,
            lambda queued: (
                queued.leased(
                    runtime_id=runtime.id,
                    target=runtime.target,
                    cold=cold,
                    now=self._clock.now(),
                    lease=LEASE,
                    estimated_cost_usd=_cost(costs, runtime.target.gpu_type, runtime.target.region, cold=cold),
                )
                if queued.status is RenderStatus.QUEUED
                else None
            ),
            f"starting a runtime on {runtime.target}" if cold else f"placed on a warm runtime on {runtime.target}",
        )
        if leased is None:  # canceled between the look and the lease
            self._runtimes.release(runtime.id, render.id)
            return
        self._trace_queueing(leased)
        self._bell.ring(render.id)
        self._spawn(leased)

    def _spawn(self, render: Render) -> None:
        attempt = self._new_attempt(render)
        task = asyncio.create_task(attempt.run(), name=f"attempt {render.id}")
        self._running[render.id] = (attempt, task)
        task.add_done_callback(lambda _: self._done(render.id, attempt))

    def _done(self, render_id: str, attempt: Attempt) -> None:
        if (running := self._running.get(render_id)) and running[0] is attempt:
            del self._running[render_id]
        self.wake()

    async def _expire(self, render_id: str) -> None:
        def change(render: Render) -> Render | None:
            if render.status is not RenderStatus.QUEUED:
                return None
            return render.ended(RenderStatus.EXPIRED, self._clock.now(), phase=Phase.DONE)

        await self._store.advance(render_id, change, "nothing was free in time")
        self._bell.ring(render_id)

    def _trace_queueing(self, render: Render) -> None:
        """A span for the time in the queue, made when it is over so that it survives restarts."""
        began = render.created_at.timestamp()
        waited = timedelta(milliseconds=render.timing.queued_ms or 0).total_seconds()
        span = tracer.start_span("queue", extract_context(render.trace_context), start_time=round(began * 1e9))
        span.end(round((began + waited) * 1e9))


def _cost(costs: Costs, gpu_type: str, region: str, *, cold: bool) -> float | None:
    known = costs.get((gpu_type, region))
    return known[1 if cold else 0] if known else None
