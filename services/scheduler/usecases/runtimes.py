"""Runtimes: which versions are loaded where, how they start, and when they free their slots."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from services.chassis.ids import new_id
from services.scheduler.domain.errors import NoFreeSlot, RuntimeBusy, RuntimeStartFailed, WorkerLost
from services.scheduler.domain.fleet import Fleet, Pin, Slot
from services.scheduler.domain.runtime import Runtime, RuntimeStatus
from services.scheduler.ports import Clock, Costs, LoadMoment, Placer, RuntimeStore, Version, WorkerProcess, Workers
from services.scheduler.usecases.start import Start

log = structlog.get_logger()

TEND_SECONDS = 1.0
CHECK_SECONDS = 5.0


class Runtimes:
    """The runtimes of the fleet. Everything that changes who has a slot happens without awaiting, so it is atomic."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        placer: Placer,
        workers: Workers,
        store: RuntimeStore,
        clock: Clock,
        idle_release_seconds: float,
        on_change: Callable[[], None],
    ) -> None:
        self.fleet = fleet
        self._placer = placer
        self._workers = workers
        self._store = store
        self._clock = clock
        self._idle_release_seconds = idle_release_seconds
        self._on_change = on_change
        self._runtimes: dict[str, Runtime] = {}
        self._starts: dict[str, Start] = {}
        self._endings: dict[str, asyncio.Task[None]] = {}

    # Looking

    def all(self) -> list[Runtime]:
        """Every runtime, oldest first."""
        return sorted(self._runtimes.values(), key=lambda runtime: runtime.id)

    def get(self, runtime_id: str) -> Runtime | None:
        """A runtime, unless it is gone."""
        return self._runtimes.get(runtime_id)

    def idle_release_seconds(self, runtime: Runtime) -> float | None:
        """Seconds until an idle runtime frees its slot; None for one that does not."""
        if not runtime.is_idle or runtime.keep_warm:
            return None
        idle = (self._clock.now() - runtime.last_used_at).total_seconds()
        return max(0.0, self._idle_release_seconds - idle)

    def free_slots(self) -> list[Slot]:
        """Slots nothing occupies, in the fleet's order."""
        taken = {runtime.slot_id for runtime in self._runtimes.values() if runtime.occupies_slot}
        return [slot for slot in self.fleet.slots if slot.id not in taken]

    # Taking and giving back

    def claim(self, version: Version, pin: Pin, render_id: str, costs: Costs) -> Runtime | None:
        """Take a runtime for a render: a warm idle one, one that is starting for nobody, or a new one; None to wait.

        A new one goes to the free slot with the cheapest request, then in place of the runtime that idles longest.
        """
        mine = [r for r in self._runtimes.values() if self._serves(r, version, pin) and not r.is_busy]
        ready = [r for r in mine if r.is_idle] or [r for r in mine if r.status is RuntimeStatus.STARTING]
        if ready:
            chosen = max(ready, key=lambda runtime: runtime.last_used_at)
            return self._set(replace(chosen, render_id=render_id))
        return self._begin(version, pin, costs, render_id=render_id, keep_warm=False)

    async def start(self, version: Version, pin: Pin, costs: Costs, *, keep_warm: bool) -> tuple[Runtime, bool]:
        """A warm runtime of the version, and whether this call waited for its start.

        Raises NoFreeSlot, RuntimeStartFailed.
        """
        mine = [r for r in self._runtimes.values() if self._serves(r, version, pin)]
        warm = [r for r in mine if r.status is RuntimeStatus.WARM]
        starting = [r for r in mine if r.status is RuntimeStatus.STARTING]
        found = (warm or starting or [None])[0] or self._begin(version, pin, costs, render_id=None, keep_warm=keep_warm)
        if found is None:
            raise NoFreeSlot(str(pin))
        if keep_warm and not found.keep_warm:
            found = self._set(replace(found, keep_warm=True))
            await self._store.save(found)
        async for _ in self.starting(found.id):
            pass
        if found.id not in self._runtimes:
            raise RuntimeStartFailed("it was stopped", retry=True)
        return self._runtimes[found.id], not warm

    async def stop(self, version: Version, pin: Pin) -> int:
        """Stop the version's runtimes that match; says how many. Stops none and raises RuntimeBusy when one renders."""
        mine = [r for r in self._runtimes.values() if self._serves(r, version, pin)]
        if any(runtime.is_busy for runtime in mine):
            raise RuntimeBusy
        await asyncio.gather(*(self._end(runtime) for runtime in mine))
        return len(mine)

    async def starting(self, runtime_id: str) -> AsyncGenerator[LoadMoment, None]:
        """The moments of a runtime's start; ends when it is warm. Raises RuntimeStartFailed."""
        start = self._starts.get(runtime_id)
        if start is not None:
            async for moment in start.moments():
                yield moment

    def release(self, runtime_id: str, render_id: str) -> None:
        """Give a runtime back after a render."""
        runtime = self._runtimes.get(runtime_id)
        if runtime is not None and runtime.render_id == render_id:
            self._set(replace(runtime, render_id=None, last_used_at=self._clock.now()))
            self._on_change()

    async def lost(self, runtime_id: str) -> None:
        """Drop a runtime whose worker does not answer, and make sure that its process is gone."""
        if runtime := self._runtimes.get(runtime_id):
            log.warning("worker lost", runtime_id=runtime_id, slug=runtime.slug, target=str(runtime.target))
            await self._end(runtime)

    # Living

    async def recover(self, busy: Mapping[str, str]) -> None:
        """Take over the workers of an earlier scheduler. `busy` maps runtime ids to the renders they still run."""
        for stored in await self._store.all():
            if await self._answers(stored):
                adopted = replace(stored, last_used_at=self._clock.now(), render_id=busy.get(stored.id))
                self._runtimes[stored.id] = adopted
                log.info("worker adopted", runtime_id=stored.id, slug=stored.slug)
            else:
                self._runtimes[stored.id] = stored
                self._end(stored)  # its slot is free when its process is gone; nobody else waits for that

    async def tend(self) -> None:
        """Free the slots of runtimes that idle too long, and notice workers that died; runs until canceled."""
        since_check = 0.0
        while True:
            await self._clock.sleep(TEND_SECONDS)
            for runtime in self.all():
                if self.idle_release_seconds(runtime) == 0.0:
                    log.info("runtime idle for too long", runtime_id=runtime.id, slug=runtime.slug)
                    await self._end(runtime)
            since_check += TEND_SECONDS
            if since_check >= CHECK_SECONDS:
                since_check = 0.0
                await asyncio.gather(*(self._check(runtime) for runtime in self.all()))

    async def close(self) -> None:
        """Stop every runtime."""
        await asyncio.gather(*(self._end(runtime) for runtime in self.all()))

    # Within

    @staticmethod
    def _serves(runtime: Runtime, version: Version, pin: Pin) -> bool:
        return (
            runtime.runs(version.slug, version.model_version)
            and pin.admits(runtime.target)
            and runtime.status in (RuntimeStatus.STARTING, RuntimeStatus.WARM)
        )

    def _set(self, runtime: Runtime) -> Runtime:
        self._runtimes[runtime.id] = runtime
        return runtime

    def _begin(
        self, version: Version, pin: Pin, costs: Costs, *, render_id: str | None, keep_warm: bool
    ) -> Runtime | None:
        fitting = self.fleet.slots_for(pin, version.vram_floor_gib)
        free = {slot.id for slot in self.free_slots()}
        slot = self._cheapest([slot for slot in fitting if slot.id in free], costs)
        predecessor: asyncio.Task[None] | None = None
        if slot is None:
            slots = {slot.id: slot for slot in fitting}
            idle = [r for r in self._runtimes.values() if r.is_idle and not r.keep_warm and r.slot_id in slots]
            if not idle:
                return None
            evicted = min(idle, key=lambda runtime: runtime.last_used_at)
            log.info("runtime evicted", runtime_id=evicted.id, slug=evicted.slug, in_favor_of=version.slug)
            slot = slots[evicted.slot_id]
            predecessor = self._end(evicted)
        self._forget_failures(version)
        now = self._clock.now()
        runtime = self._set(
            Runtime(
                id=new_id("rt"),
                slug=version.slug,
                model_version=version.model_version,
                slot_id=slot.id,
                target=slot.target,
                status=RuntimeStatus.STARTING,
                created_at=now,
                last_used_at=now,
                keep_warm=keep_warm,
                render_id=render_id,
            )
        )
        start = Start(self._clock, on_moment=lambda moment: self._note_phase(runtime.id, moment))
        self._starts[runtime.id] = start
        start.run(self._start(runtime.id, slot, version, start, predecessor))
        return runtime

    @staticmethod
    def _cheapest(slots: Sequence[Slot], costs: Costs) -> Slot | None:
        def cost(slot: Slot) -> float:
            return costs.get((slot.target.gpu_type, slot.target.region), (float("inf"), 0.0))[0]

        return min(slots, key=cost, default=None)  # min keeps the fleet's order among equals

    async def _start(
        self, runtime_id: str, slot: Slot, version: Version, start: Start, predecessor: asyncio.Task[None] | None
    ) -> None:
        """Bring a runtime from nothing to warm. Raises RuntimeStartFailed."""
        try:
            if predecessor is not None:
                start.tell(LoadMoment("evicting", "freeing the slot"))
                await asyncio.shield(predecessor)
            start.tell(LoadMoment("process", "starting the worker"))
            process = await self._placer.launch(runtime_id, slot)
            runtime = self._set(replace(self._runtimes[runtime_id], address=process.address, pid=process.pid))
            await self._store.save(runtime)
            async for moment in self._workers.load(process.address, version):
                start.tell(moment)
                if moment.failure is not None:
                    failure = moment.failure
                    raise RuntimeStartFailed(failure.message, cause_reason=failure.reason, retry=failure.retry)
            warm = self._runtimes[runtime_id].moved(
                RuntimeStatus.WARM, startup_ms=start.elapsed_ms(), start_phase="", last_used_at=self._clock.now()
            )
            await self._store.save(self._set(warm))
            log.info("runtime warm", runtime_id=runtime_id, slug=warm.slug, target=str(warm.target), ms=warm.startup_ms)
        except WorkerLost as error:
            await self._fail(runtime_id)
            raise RuntimeStartFailed("the worker was lost while it loaded", retry=True) from error
        except RuntimeStartFailed:
            await self._fail(runtime_id)
            raise
        except Exception as error:
            log.exception("unexpected error while a runtime started", runtime_id=runtime_id)
            await self._fail(runtime_id)
            raise RuntimeStartFailed("internal error") from error
        finally:
            self._on_change()

    async def _fail(self, runtime_id: str) -> None:
        """Keep a failed start for the status to show, without its slot and without its process."""
        if runtime := self._runtimes.get(runtime_id):
            failed = self._set(runtime.moved(RuntimeStatus.FAILED, render_id=None))
            log.warning("runtime failed to start", runtime_id=runtime_id, slug=failed.slug, target=str(failed.target))
            await self._bury(failed)

    def _forget_failures(self, version: Version) -> None:
        for runtime in self.all():
            if runtime.status is RuntimeStatus.FAILED and runtime.runs(version.slug, version.model_version):
                del self._runtimes[runtime.id], self._starts[runtime.id]

    def _end(self, runtime: Runtime) -> asyncio.Task[None]:
        """Free a runtime's slot; the task is done when its process is gone. Ending twice is the same as once."""
        if runtime.id not in self._endings:
            if start := self._starts.get(runtime.id):
                start.abandon()
            current = self._runtimes[runtime.id]
            if current.status in (RuntimeStatus.STARTING, RuntimeStatus.WARM):
                self._set(current.moved(RuntimeStatus.DRAINING))
            self._endings[runtime.id] = asyncio.create_task(self._drain(current))
        return self._endings[runtime.id]

    async def _drain(self, runtime: Runtime) -> None:
        try:
            await self._bury(runtime)
        finally:
            for known in (self._runtimes, self._starts, self._endings):
                known.pop(runtime.id, None)
            self._on_change()

    async def _bury(self, runtime: Runtime) -> None:
        if runtime.address is not None and runtime.pid is not None:
            await self._placer.terminate(runtime.id, WorkerProcess(runtime.address, runtime.pid))
        await self._store.remove(runtime.id)

    async def _check(self, runtime: Runtime) -> None:
        """Tell a worker that somebody cares, and drop it when it does not answer."""
        if runtime.status is not RuntimeStatus.WARM or runtime.is_busy or await self._answers(runtime):
            return
        await self.lost(runtime.id)

    async def _answers(self, runtime: Runtime) -> bool:
        """Whether the runtime's worker is there, is that worker, and has the version loaded."""
        if runtime.address is None or runtime.pid is None or runtime.status is not RuntimeStatus.WARM:
            return False
        if not await self._placer.is_alive(runtime.id, WorkerProcess(runtime.address, runtime.pid)):
            return False
        try:
            state = await self._workers.state(runtime.address)
        except WorkerLost:
            return False
        return state.worker_id == runtime.id and state.state == "ready"

    def _note_phase(self, runtime_id: str, moment: LoadMoment) -> None:
        if runtime := self._runtimes.get(runtime_id):
            self._set(replace(runtime, start_phase=moment.phase))
