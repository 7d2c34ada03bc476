"""Runtimes: which versions are loaded where, who has them, and when they free their slots."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace

import structlog

from services.chassis.errors import ForgeError
from services.chassis.ids import new_id as random_id
from services.chassis.storage import StoreUnavailable
from services.scheduler.domain.durations import Durations
from services.scheduler.domain.errors import RuntimeStartFailed, WorkerLost
from services.scheduler.domain.fleet import Fleet, Machine, Slot, Target
from services.scheduler.domain.occupancy import Occupancy
from services.scheduler.domain.placement import Start as StartOn
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.runtime import Runtime, RuntimeStatus
from services.scheduler.ports import Clock, LoadMoment, Placer, RuntimeStore, Version, WorkerProcess, Workers
from services.scheduler.usecases.start import Start

log = structlog.get_logger()

TEND_SECONDS = 1.0
CHECK_SECONDS = 5.0

_UsedLast = dict[tuple[str, str], tuple[float, str]]


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
        policy: Policy,
        durations: Durations,
        on_change: Callable[[], None],
        new_id: Callable[[str], str] = random_id,
    ) -> None:
        self.occupancy = Occupancy(fleet)
        self.room: tuple[int, ...] | None = None
        """How many slots of each kind of the fleet are on machines that are there; None for all."""
        self._placer = placer
        self._workers = workers
        self._store = store
        self._clock = clock
        self._policy = policy
        self._durations = durations
        self._on_change = on_change
        self._new_id = new_id
        self._idle_since: dict[str, float] = {}
        """When a runtime was last used, on the clock that only grows."""
        self._starts: dict[str, Start] = {}
        self._endings: dict[str, asyncio.Task[None]] = {}
        self._missed: dict[str, Runtime] = {}
        self._in_use: set[str] = set()
        self._news = asyncio.Event()

    # Looking

    @property
    def fleet(self) -> Fleet:
        """The slots there are."""
        return self.occupancy.fleet

    def all(self) -> list[Runtime]:
        """Every runtime, oldest first."""
        return sorted(self.occupancy.all(), key=lambda runtime: runtime.id)

    def get(self, runtime_id: str) -> Runtime | None:
        """A runtime, unless it is gone."""
        return self.occupancy.get(runtime_id)

    def idle_release_seconds(self, runtime: Runtime, used_last: "_UsedLast | None" = None) -> float | None:
        """Seconds until an idle runtime frees its slot; None for one that does not.

        One that is idle beside another of its version, used more lately, goes earlier: the fleet scales back in. Who
        asks for many runtimes looks up once which were `used_last`.
        """
        if not runtime.is_idle or runtime.keep_warm:
            return None
        stays = runtime.idle_release_seconds or self._policy.idle_release_seconds
        used = self._idle_since.get(runtime.id, 0.0)
        version = runtime.slug, runtime.model_version
        if used_last is None:
            used_last = self._used_last(self.occupancy.usable(version, self.fleet.kinds))
        if (used, runtime.id) < used_last.get(version, (0.0, "")):
            stays = min(stays, self._policy.scale_in_seconds)
        return max(0.0, stays - (self._clock.monotonic() - used))

    def _used_last(self, runtimes: Iterable[Runtime]) -> "_UsedLast":
        """When, and which, the idle runtime of each version was that was used last."""
        found: _UsedLast = {}
        for runtime in runtimes:
            if runtime.is_idle:
                version = runtime.slug, runtime.model_version
                found[version] = max(found.get(version, (0.0, "")), (self._idle_since.get(runtime.id, 0.0), runtime.id))
        return found

    def free_slots(self) -> list[Slot]:
        """Slots nothing occupies, in the fleet's order."""
        return self.occupancy.free_slots()

    def count_absent(self, target: Target) -> int:
        """How many slots of a target can be on no machine that is there."""
        return sum(self.occupancy.count_absent(kind) for kind in self.fleet.kinds if kind.target == target)

    def missed(self) -> list[Runtime]:
        """Those that were to stay warm until stopped and are gone although nobody stopped them."""
        return list(self._missed.values())

    def starting_for(self, runtime_id: str) -> float | None:
        """How long a start has taken so far; None for a runtime that does not start."""
        runtime, start = self.occupancy.get(runtime_id), self._starts.get(runtime_id)
        if runtime is None or runtime.status is not RuntimeStatus.STARTING:
            return None
        if start is None:  # another scheduler starts it
            return max(0.0, (self._clock.now() - runtime.created_at).total_seconds())
        return start.elapsed_ms() / 1000

    @property
    def news(self) -> asyncio.Event:
        """Set at the next change of a runtime. Who takes it before looking misses nothing."""
        return self._news

    # Taking and giving back

    def take(self, runtime: Runtime, render_id: str) -> Runtime:
        """A runtime, which is idle or starts for nobody, is a render's from now on."""
        return self._set(replace(runtime, render_id=render_id))

    def begin(
        self,
        version: Version,
        on: StartOn,
        *,
        render_id: str | None,
        keep_warm: bool = False,
        idle_release_seconds: float | None = None,
        usd_per_hour: float | None = None,
    ) -> Runtime:
        """Start a runtime where the placement says; its moments are those of `starting`."""
        predecessor: asyncio.Task[None] | None = None
        if on.evicted is not None:
            log.info("runtime evicted", runtime_id=on.evicted.id, slug=on.evicted.slug, in_favor_of=version.slug)
            predecessor = self._end(on.evicted)
        self._forget_failures(version)
        now = self._clock.now()
        runtime = self._set(
            Runtime(
                id=self._new_id("rt"),
                slug=version.slug,
                model_version=version.model_version,
                slot_id=on.slot.id,
                target=on.slot.target,
                status=RuntimeStatus.STARTING,
                created_at=now,
                last_used_at=now,
                keep_warm=keep_warm,
                idle_release_seconds=idle_release_seconds,
                usd_per_hour=usd_per_hour,
                render_id=render_id,
            )
        )
        start = Start(self._clock, on_moment=lambda moment: self._note_phase(runtime.id, moment))
        self._starts[runtime.id] = start
        start.run(self._start(runtime.id, on.slot, version, start, predecessor))
        return runtime

    async def keep(self, runtime: Runtime, *, keep_warm: bool, idle_release_seconds: float | None) -> None:
        """Say how long a runtime stays warm without work."""
        if runtime.id in self.occupancy and (keep_warm or idle_release_seconds):
            current = self.occupancy[runtime.id]
            kept = replace(
                current,
                keep_warm=keep_warm or current.keep_warm,
                idle_release_seconds=idle_release_seconds or current.idle_release_seconds,
            )
            await self._remember(self._set(kept))

    def note_use(self, runtime_id: str) -> None:
        """Somebody has a runtime, or asked that it be started, for something else than a probe."""
        if runtime_id in self.occupancy:
            self._in_use.add(runtime_id)

    def is_in_use(self, runtime_id: str) -> bool:
        """Whether anything but a probe has had a runtime since this scheduler began."""
        return runtime_id in self._in_use

    async def starting(
        self, runtime_id: str, *, every_seconds: float = CHECK_SECONDS
    ) -> AsyncGenerator[LoadMoment | None, None]:
        """The moments of a start, None after each silence; ends when it is warm. Raises RuntimeStartFailed."""
        start = self._starts.get(runtime_id)
        if start is not None:
            async for moment in start.moments(every_seconds):
                yield moment

    def release(self, runtime_id: str, render_id: str, *, has_run: bool = False) -> None:
        """Give a runtime back after a render, which `has_run` to its end or not."""
        runtime = self.occupancy.get(runtime_id)
        if runtime is not None and runtime.render_id == render_id:
            has_run = has_run or runtime.has_run
            self._set(replace(runtime, render_id=None, has_run=has_run, last_used_at=self._clock.now()))
            self._idle_since[runtime_id] = self._clock.monotonic()
            self._on_change()

    async def end(self, runtimes: Iterable[Runtime]) -> None:
        """End runtimes, kindly; from now on nobody gets one of them. Returns when their slots are free."""
        await asyncio.shield(asyncio.gather(*[self._end(runtime) for runtime in runtimes]))

    def abandon(self, runtime_id: str) -> None:
        """Give up a start for whoever needs the slot now. One that is warm already stays."""
        runtime = self.occupancy.get(runtime_id)
        if runtime is not None and runtime.status is RuntimeStatus.STARTING:
            log.info("start abandoned", runtime_id=runtime_id, slug=runtime.slug, target=str(runtime.target))
            self._end(runtime, kindly=False)

    def discard(self, runtime_id: str) -> None:
        """Drop a runtime whose worker does not answer or cannot be trusted."""
        if runtime := self.occupancy.get(runtime_id):
            log.warning("runtime discarded", runtime_id=runtime_id, slug=runtime.slug, target=str(runtime.target))
            self._miss(runtime)
            self._end(runtime, kindly=False)

    async def miss_no_longer(self, runtime: Runtime) -> None:
        """A runtime that was missed has been replaced, or is not wanted any more."""
        if self._missed.pop(runtime.id, None) is not None and runtime.id not in self.occupancy:
            await self._forget(runtime)

    # Living

    async def recover(self, busy: Mapping[str, str]) -> None:
        """Take over the workers of an earlier scheduler. `busy` maps runtime ids to the renders they still run."""
        await asyncio.gather(*(self._adopt(stored, busy.get(stored.id)) for stored in await self._store.all()))

    def take_over(self, told: Iterable[Runtime], room: tuple[int, ...] | None) -> None:
        """Know these runtimes, which another scheduler looks after, and no others, and the room that it knows of."""
        self.room = room if room is None or len(room) == len(self.fleet.kinds) else None  # it may have another fleet
        self.occupancy = Occupancy(self.fleet, told, self.room)
        self._ring()

    def know_machines(self, machines: Iterable[Machine]) -> None:
        """Only slots on these machines, of those that come and go, may be used from now on."""
        room = self.fleet.room_on(machines)
        if room != self.room:
            self.room = room
            self.occupancy.make_room(room)
            self._ring()
            self._on_change()

    async def tend(self) -> None:
        """Free the slots of runtimes that idle too long, and notice workers that died; runs until canceled."""
        since_check = 0.0
        while True:
            await self._clock.sleep(TEND_SECONDS)
            used_last = self._used_last(self.occupancy.all())
            for runtime in self.all():
                if self.idle_release_seconds(runtime, used_last) == 0.0:
                    log.info("runtime idle for too long", runtime_id=runtime.id, slug=runtime.slug)
                    self._end(runtime)
            since_check += TEND_SECONDS
            if since_check >= CHECK_SECONDS:
                since_check = 0.0
                await asyncio.gather(*(self._check(runtime) for runtime in self.all()))

    async def close(self) -> None:
        """End every runtime, kindly: what they render is checkpointed first."""
        for runtime in self.all():
            self._miss(runtime)
        await asyncio.gather(*(self._end(runtime) for runtime in self.all()))

    # Within

    async def _adopt(self, stored: Runtime, render_id: str | None) -> None:
        self.occupancy.put(stored)
        if await self._answers(stored):
            self._set(replace(stored, last_used_at=self._clock.now(), render_id=render_id))
            self._idle_since[stored.id] = self._clock.monotonic()
            log.info("worker adopted", runtime_id=stored.id, slug=stored.slug)
        else:
            self._miss(stored)
            self._end(stored, kindly=False)  # its slot is free when its process is gone; nobody waits for that

    def _set(self, runtime: Runtime) -> Runtime:
        self.occupancy.put(runtime)
        self._ring()
        return runtime

    def _ring(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _start(
        self, runtime_id: str, slot: Slot, version: Version, start: Start, predecessor: asyncio.Task[None] | None
    ) -> None:
        """Bring a runtime from nothing to warm. Raises RuntimeStartFailed."""
        try:
            if predecessor is not None:
                start.tell(LoadMoment("evicting", "freeing the slot"))
                await asyncio.shield(predecessor)
                start.begin_to_count()
            start.tell(LoadMoment("process", "starting the worker"))
            process = await self._placer.launch(runtime_id, slot)
            runtime = self._set(replace(self.occupancy[runtime_id], address=process.address, pid=process.pid))
            await self._remember(runtime)
            software = await self._load(process.address, version, start)
            warm = self.occupancy[runtime_id].moved(
                RuntimeStatus.WARM,
                startup_ms=start.elapsed_ms(),
                software=software,
                start_phase="",
                start_message="",
                start_done_bytes=None,
                start_total_bytes=None,
                last_used_at=self._clock.now(),
            )
            self._idle_since[runtime_id] = self._clock.monotonic()
            await self._remember(self._set(warm))
            self._durations.started((warm.slug, warm.model_version, warm.target), start.elapsed_ms() / 1000)
            log.info("runtime warm", runtime_id=runtime_id, slug=warm.slug, target=str(warm.target), ms=warm.startup_ms)
        except (WorkerLost, TimeoutError) as error:
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

    async def _load(self, address: str, version: Version, start: Start) -> Mapping[str, str]:
        """Have the worker load the version; what its results rely on then.

        It is lost when it is silent for a lease. WorkerLost, TimeoutError.
        """
        async with asyncio.timeout(self._policy.lease_seconds) as patience:
            async with aclosing(self._workers.load(address, version)) as moments:
                async for moment in moments:
                    patience.reschedule(asyncio.get_running_loop().time() + self._policy.lease_seconds)
                    start.tell(moment)
                    if (failure := moment.failure) is not None:
                        raise RuntimeStartFailed(failure.message, cause_reason=failure.reason, retry=failure.retry)
                    if moment.phase == "ready":
                        return moment.software
        raise WorkerLost  # the stream ended without an outcome

    async def _fail(self, runtime_id: str) -> None:
        """Keep a failed start for the status to show, without its process. Its slot is free once that is gone."""
        if runtime := self.occupancy.get(runtime_id):
            await self._bury(runtime, kindly=False)
            current = self.occupancy.get(runtime_id)
            if current is not None and current.status is RuntimeStatus.STARTING:  # nobody ended it meanwhile
                self._set(current.moved(RuntimeStatus.FAILED))
            log.warning("runtime failed to start", runtime_id=runtime_id, slug=runtime.slug, target=str(runtime.target))

    def _forget_failures(self, version: Version) -> None:
        for runtime in self.all():
            if not runtime.occupies_slot and runtime.runs(version.slug, version.model_version):
                self.occupancy.remove(runtime.id)
                del self._starts[runtime.id]
                self._in_use.discard(runtime.id)

    def _end(self, runtime: Runtime, *, kindly: bool = True) -> asyncio.Task[None]:
        """Free a runtime's slot; the task is done when its process is gone. Ending twice is the same as once."""
        if runtime.id not in self._endings:
            if start := self._starts.get(runtime.id):
                start.abandon()
            current = self.occupancy[runtime.id]
            if current.status in (RuntimeStatus.STARTING, RuntimeStatus.WARM):
                self._set(current.moved(RuntimeStatus.DRAINING))
            self._endings[runtime.id] = asyncio.create_task(self._drain(current, kindly=kindly))
        return self._endings[runtime.id]

    async def _drain(self, runtime: Runtime, *, kindly: bool) -> None:
        try:
            if start := self._starts.get(runtime.id):
                await start.over()  # until then it may have a process that nobody knows of
            await self._bury(runtime, kindly=kindly)
        finally:
            self.occupancy.remove(runtime.id)
            for known in (self._starts, self._endings, self._idle_since):
                known.pop(runtime.id, None)
            self._in_use.discard(runtime.id)
            self._ring()
            self._on_change()

    async def _bury(self, runtime: Runtime, *, kindly: bool) -> None:
        if runtime.address is not None:
            await self._placer.terminate(runtime.id, WorkerProcess(runtime.address, runtime.pid), kindly=kindly)
        if runtime.id not in self._missed:
            await self._forget(runtime)

    def _miss(self, runtime: Runtime) -> None:
        """Remember one that is to stay warm, unless it is being ended already. The store does so too."""
        if runtime.keep_warm and runtime.status in (RuntimeStatus.STARTING, RuntimeStatus.WARM):
            self._missed[runtime.id] = runtime

    async def _forget(self, runtime: Runtime) -> None:
        try:
            await self._store.remove(runtime.id)
        except StoreUnavailable:
            log.warning("runtime not forgotten: the store is not available", runtime_id=runtime.id)

    async def _remember(self, runtime: Runtime) -> None:
        """Store a runtime, so that a later scheduler finds its worker. One that is not found ends by itself."""
        try:
            await self._store.save(runtime)
        except StoreUnavailable:
            log.warning("runtime not stored: the store is not available", runtime_id=runtime.id)

    async def _check(self, runtime: Runtime) -> None:
        """Tell a worker that somebody cares, and drop it when it does not answer."""
        if runtime.status is not RuntimeStatus.WARM or runtime.is_busy or await self._answers(runtime):
            return
        current = self.occupancy.get(runtime.id)
        if current is not None and not current.is_busy:  # one that was taken meanwhile is its attempt's to judge
            self.discard(runtime.id)

    async def _answers(self, runtime: Runtime) -> bool:
        """Whether the runtime's worker is there, is that worker, and has the version loaded."""
        if runtime.address is None or runtime.status is not RuntimeStatus.WARM:
            return False
        if not await self._placer.is_alive(runtime.id, WorkerProcess(runtime.address, runtime.pid)):
            return False
        try:
            state = await self._workers.state(runtime.address)
        except ForgeError:  # no answer, or one that makes no sense
            return False
        return state.worker_id == runtime.id and state.state == "ready"

    def _note_phase(self, runtime_id: str, moment: LoadMoment) -> None:
        if runtime := self.occupancy.get(runtime_id):
            self._set(
                replace(
                    runtime,
                    start_phase=moment.phase,
                    start_message=moment.message,
                    start_done_bytes=moment.done_bytes,
                    start_total_bytes=moment.total_bytes,
                )
            )
