"""Doing what probes are made of: one probe on a target at a time, one run after the other."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog

from services.chassis.errors import ForgeError, Kind
from services.chassis.storage import StoreUnavailable
from services.chassis.tasks import set_or_after
from services.scheduler.domain.fleet import Target
from services.scheduler.domain.probe import PROBE_ACCOUNT, Origin, Probe
from services.scheduler.domain.render import ACTIVE, Render, RenderStatus
from services.scheduler.domain.runtime import Runtime, RuntimeStatus
from services.scheduler.ports import Clock, RenderStore
from services.scheduler.probe_ports import ProbeStore, Step
from services.scheduler.usecases.dispatcher import Dispatcher
from services.scheduler.usecases.ordering import Ordering
from services.scheduler.usecases.probe_outlook import ProbeOutlook
from services.scheduler.usecases.runtimes import Runtimes
from services.scheduler.usecases.watching import Watching

log = structlog.get_logger()

POLL_SECONDS = 1.0
"""While a probe waits it is looked this often whether it can go on."""
IDLE_POLL_SECONDS = 60.0
"""Without one, being woken is enough; this is for what nobody told."""
LOOK_AGAIN_SECONDS = 60
"""How long a run is waited for before it is looked whether the probe is still wanted."""


class Prober:
    """Works on the probes of the store. Whatever it leaves undone it finds there again."""

    def __init__(
        self,
        *,
        probes: ProbeStore,
        outlook: ProbeOutlook,
        ordering: Ordering,
        watching: Watching,
        dispatcher: Dispatcher,
        runtimes: Runtimes,
        renders: RenderStore,
        clock: Clock,
    ) -> None:
        self._probes = probes
        self._outlook = outlook
        self._ordering = ordering
        self._watching = watching
        self._dispatcher = dispatcher
        self._runtimes = runtimes
        self._renders = renders
        self._clock = clock
        self._news = asyncio.Event()
        self._busy: set[Target] = set()
        """The targets somebody measures on."""

    def wake(self) -> None:
        """Look for what can be done now. Nothing is lost when nobody calls this."""
        self._news.set()

    async def run(self) -> None:
        """Work until canceled. What is under way then goes on after the next start."""
        async with asyncio.TaskGroup() as at_work:
            is_tidy = False
            while True:
                self._news.clear()
                patience = POLL_SECONDS
                try:
                    if not is_tidy:
                        await self._stop_orphans()
                        is_tidy = True
                    under_way = await self._probes.under_way()
                    for probe in await self._those_that_can_begin(under_way):
                        self._busy.add(probe.target)
                        at_work.create_task(self._work(probe), name=f"probe {probe.id}")
                    patience = POLL_SECONDS if under_way else IDLE_POLL_SECONDS
                except StoreUnavailable:
                    log.warning("no probe begun: the store is not available")
                await set_or_after(self._news, self._clock, patience)

    async def _those_that_can_begin(self, under_way: Sequence[Probe]) -> list[Probe]:
        """Where nobody measures yet: the one that has begun, or else the oldest of those that need not wait."""
        first: dict[Target, Probe] = {}
        for probe in sorted(under_way, key=lambda probe: (probe.started_at is None, probe.id)):
            if probe.target in self._busy or probe.target in first:
                continue
            if probe.started_at is not None or not await self._outlook.why_it_waits(probe):
                first[probe.target] = probe
        return list(first.values())

    async def _work(self, probe: Probe) -> None:
        """Bring one probe to its end, unless something is away that it needs: then it is begun again."""
        try:
            while probe.is_under_way:
                probe = await self._step(probe)
            log.info("probe ended", probe_id=probe.id, status=probe.status, reason=probe.reason)
            await self._leave(probe)
        except Exception as error:
            await self._break_off(probe, error)
        finally:
            self._busy.discard(probe.target)
            self.wake()

    async def _break_off(self, probe: Probe, error: Exception) -> None:
        """What is away is waited for; anything else would only happen again."""
        try:
            if isinstance(error, ForgeError) and error.kind is Kind.UNAVAILABLE:
                log.warning("probe held up", probe_id=probe.id, reason=error.reason)
            else:
                log.error("probe broke off", probe_id=probe.id, exc_info=error)
                await self._fail(probe, ForgeError("internal error"))
        except StoreUnavailable:
            log.warning("probe held up: the store is not available", probe_id=probe.id)
        await self._clock.sleep(POLL_SECONDS)

    async def _step(self, probe: Probe) -> Probe:
        """Make one run, or wait a little. Returns the probe as it stands afterwards."""
        if not probe.run.render_id:
            if await self._outlook.why_it_waits(probe):
                await self._clock.sleep(POLL_SECONDS)
                return await self._again(probe)
            if probe.number == 0 and probe.origin is Origin.ASKED:
                await self._end_idle(probe)
        try:
            render = await self._present_render(probe)
        except ForgeError as error:
            if error.kind is Kind.UNAVAILABLE:
                raise
            return await self._fail(probe, error)
        now, render_id = self._clock.now(), render.id
        probe = await self._advance(probe, lambda probe: probe.begun(render_id, now))
        if not probe.is_under_way:  # canceled before its render was known to it
            await self._dispatcher.stop(render_id, "its probe was canceled")
        while probe.is_under_way and not render.is_settled:
            render = await self._watching.until_settled(render, LOOK_AGAIN_SECONDS)
            probe = await self._again(probe)
        await self._given_back(render)
        if probe.is_under_way and not probe.after(render, self._clock.now()).is_under_way:
            await self._leave(probe)  # whoever hears of the end finds the slot free
        return await self._advance(probe, lambda probe: probe.after(render, self._clock.now()))

    async def _present_render(self, probe: Probe) -> Render:
        """The render of the present try: as it was noted, for keys are forgotten some day, or else a new one."""
        noted = await self._renders.get(PROBE_ACCOUNT, probe.run.render_id) if probe.run.render_id else None
        return noted or await self._ordering.probe(probe.body, probe_id=probe.id, request_id=probe.request_id)

    async def _end_idle(self, probe: Probe) -> None:
        """End what is warm for nobody, so that the first run measures a start."""
        idle = [runtime for runtime in self._mine(probe) if runtime.is_idle and not runtime.keep_warm]
        await self._runtimes.end(idle)

    async def _leave(self, probe: Probe) -> None:
        """Free the slot again that the probe took, unless others have come to use the runtime."""
        render = await self._last_render(probe)
        while render is not None and not render.is_settled:
            render = await self._watching.until_settled(render, LOOK_AGAIN_SECONDS)
        if render is not None:
            await self._given_back(render)
        started = {probe.runtime_id}
        if render is not None and render.was_cold_start and render.attempts:
            started.add(render.attempts[-1].runtime_id)
        spare = [
            runtime
            for runtime in self._mine(probe)
            if runtime.id in started
            and runtime.status in (RuntimeStatus.STARTING, RuntimeStatus.WARM)
            and not (runtime.is_busy or runtime.keep_warm or runtime.idle_release_seconds)
            and not self._runtimes.is_in_use(runtime.id)
        ]
        await self._runtimes.end(spare)

    async def _given_back(self, render: Render) -> None:
        """Return once the attempt of a render that has ended has let go of its runtime."""
        while self._dispatcher.runs(render.id):
            news = self._runtimes.news
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await news.wait()

    async def _last_render(self, probe: Probe) -> Render | None:
        found = [run.render_id for run in probe.runs if run.render_id]
        return await self._renders.get(PROBE_ACCOUNT, found[-1]) if found else None

    def _mine(self, probe: Probe) -> list[Runtime]:
        return [
            runtime
            for runtime in self._runtimes.all()
            if runtime.runs(probe.slug, probe.model_version) and runtime.target == probe.target
        ]

    async def _again(self, probe: Probe) -> Probe:
        """The probe as it is now."""
        return await self._probes.get(probe.id) or probe

    async def _fail(self, probe: Probe, error: ForgeError) -> Probe:
        now = self._clock.now()
        wrong = "; ".join(f"{violation.field} {violation.description}" for violation in error.violations)
        words = f"{error.message}: {wrong}" if wrong else error.message
        return await self._advance(probe, lambda probe: probe.failed(error.reason, words, now))

    async def _advance(self, probe: Probe, step: Step) -> Probe:
        """Apply a step, unless somebody has ended the probe meanwhile."""
        await self._probes.advance(probe.id, lambda probe: step(probe) if probe.is_under_way else None)
        return await self._again(probe)

    async def _stop_orphans(self) -> None:
        """Stop runs whose probes were stopped by a scheduler that did not come to it."""
        for render in await self._renders.with_status(RenderStatus.QUEUED, *ACTIVE):
            if render.probe_id:
                probe = await self._probes.get(render.probe_id)
                if probe is None or not probe.is_under_way:
                    await self._dispatcher.stop(render.id, "its probe was canceled")
