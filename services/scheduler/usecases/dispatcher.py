"""Which render runs next, and the attempts that run."""

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from services.chassis.errors import ForgeError
from services.chassis.storage import StoreUnavailable
from services.chassis.tasks import uninterrupted
from services.scheduler.domain.circuit import Circuits
from services.scheduler.domain.demand import Demand, Entry
from services.scheduler.domain.durations import Durations
from services.scheduler.domain.facts import AttemptRecord, Outcome, Phase
from services.scheduler.domain.fleet import SlotKind, Target
from services.scheduler.domain.placement import Expectation, Situation, Start, Take, Wait, place
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import ACTIVE, WAITING, Lease, Render, RenderStatus
from services.scheduler.domain.runtime import RuntimeStatus
from services.scheduler.domain.shares import DAY_SECONDS, Day, Shares
from services.scheduler.ports import Catalog, Clock, RenderStore, Version
from services.scheduler.usecases.attempt import Attempt, AttemptFactory
from services.scheduler.usecases.giving_way import GivingWay
from services.scheduler.usecases.outlook import Outlook
from services.scheduler.usecases.queue import Queue
from services.scheduler.usecases.renders import Renders
from services.scheduler.usecases.runtimes import Runtimes

log = structlog.get_logger()

POLL_SECONDS = 1.0
"""The queue is looked at this often even when nothing has changed: circuits close and circumstances change."""


class Dispatcher:
    """Gives queued renders to runtimes in fair order, and keeps the attempts that run."""

    def __init__(
        self,
        *,
        store: RenderStore,
        renders: Renders,
        queue: Queue,
        runtimes: Runtimes,
        outlook: Outlook,
        catalog: Catalog,
        shares: Shares,
        day: Day,
        durations: Durations,
        circuits: Circuits,
        clock: Clock,
        policy: Policy,
        attempts: AttemptFactory,
        giving_way: GivingWay,
        news: asyncio.Event,
    ) -> None:
        self._store = store
        self._renders = renders
        self._queue = queue
        self._runtimes = runtimes
        self._outlook = outlook
        self._catalog = catalog
        self._shares = shares
        self._day = day
        self._durations = durations
        self._circuits = circuits
        self._clock = clock
        self._policy = policy
        self._new_attempt = attempts
        self._news = news
        self._giving_way = giving_way
        self._running: dict[str, tuple[Attempt, asyncio.Task[None]]] = {}

    async def stop(self, render_id: str, message: str) -> None:
        """Cancel a render, wherever it is; one that has ended stays as it is. StoreUnavailable."""
        now = self._clock.now()
        canceled = await self._renders.advance(render_id, lambda render: render.canceled(now), message)
        if canceled is not None:
            log.info("render canceled", render_id=render_id, status=canceled.status, why=message)
            self.cancel(render_id)

    def cancel(self, render_id: str) -> None:
        """Tell the attempt of a render, if one runs, that the render is to end."""
        if running := self._running.get(render_id):
            running[0].cancel()

    def runs(self, render_id: str) -> bool:
        """Whether an attempt at the render runs here."""
        return render_id in self._running

    def running_by_model(self) -> dict[str, int]:
        """How many attempts run, by model."""
        return dict(Counter(attempt.render.slug for attempt, _ in self._running.values()))

    def remaining_seconds(self, render_id: str) -> float | None:
        """How long the attempt at a render is expected to be in others' way; None when nobody knows.

        That of a probe gives way within a step.
        """
        running = self._running.get(render_id)
        if running is None:
            return None
        return 0.0 if running[0].render.probe_id else running[0].remaining_seconds()

    def probes_under_way(self) -> dict[str | None, str]:
        """The renders of probes that have a runtime, by its id."""
        return {a.render.runtime_id: a.render.id for a, _ in self._running.values() if a.render.probe_id}

    async def recover(self) -> None:
        """Go on with what an earlier scheduler left: re-join attempts whose workers live, queue the others again."""
        await self._remember_the_day()
        for render in await self._store.with_status(RenderStatus.QUEUED):
            self._queue.note(render, waits=True)
        active = await self._store.with_status(*ACTIVE)
        await self._runtimes.recover({r.runtime_id: r.id for r in active if r.runtime_id is not None})
        for render in active:
            runtime = self._runtimes.get(render.runtime_id or "")
            if runtime is not None and runtime.status is RuntimeStatus.WARM and render.phase is not Phase.STARTING:
                await self._spawn(render)
                if render.status is RenderStatus.CANCELING:
                    self.cancel(render.id)
                continue
            if runtime is not None:
                self._runtimes.release(runtime.id, render.id)
            await self._take_back(render)

    async def run(self) -> None:
        """Place renders until canceled."""
        while True:
            self._news.clear()
            try:
                await self._place_all()
            except StoreUnavailable:
                log.warning("nothing placed: the store is not available")
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def drain(self) -> None:
        """Let attempts go on for the time they have, then end every runtime: renders are checkpointed and released."""
        if tasks := [task for _, task in self._running.values()]:
            await asyncio.wait(tasks, timeout=max(self._policy.drain_seconds, 0.001))
        for attempt, _ in self._running.values():
            attempt.drain()
        await self._runtimes.close()
        tasks = [task for _, task in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _place_all(self) -> None:
        """Place all that can be placed now, in fair order."""
        blocked: set[Demand] = set()
        ahead: dict[Demand, int] = {}
        passed_over: list[Entry] = []
        barred = self.accounts_at_their_limit()
        rooms: set[SlotKind] | None = None
        self._giving_way.look_again()
        try:
            while True:
                if rooms != (rooms := self._runtimes.occupancy.kinds_with_room()):
                    blocked |= self._without_room(rooms)
                entry = self._queue.next(self._shares, blocked, barred)
                if entry is None:
                    return
                waits = await self._place(entry, ahead.get(entry.demand, 0))
                if waits is not None and waits.is_full:
                    blocked.add(entry.demand)
                elif entry.render_id in self._queue:
                    ahead[entry.demand] = ahead.get(entry.demand, 0) + 1
                    self._queue.set_aside(entry)
                    passed_over.append(entry)
                else:
                    barred = self.accounts_at_their_limit()
        finally:
            for entry in passed_over:
                self._queue.put_back(entry)

    def _without_room(self, rooms: set[SlotKind]) -> set[Demand]:
        """What need not be looked at, since no slot it could have has room; all must be while probes may make some."""
        if self.probes_under_way():
            return set()
        admitted = self._runtimes.fleet.kinds_admitted
        return {demand for demand in self._queue.demands() if rooms.isdisjoint(admitted(demand))}

    def accounts_at_their_limit(self) -> set[str]:
        """The accounts that run as many renders at once as they may."""
        limit = self._policy.max_running_per_account
        return {account for account, count in self._counts().items() if limit is not None and count >= limit}

    def _counts(self) -> Counter[str]:
        """How many renders of each account run, without those of probes."""
        return Counter(attempt.render.account for attempt, _ in self._running.values() if not attempt.render.probe_id)

    async def _place(self, entry: Entry, ahead: int) -> Wait | None:
        """Place one render, or say why it waits."""
        demand = entry.demand
        try:
            version = await self._catalog.version(demand.slug, demand.model_version)
        except ForgeError as error:
            log.warning("render cannot be placed now", render_id=entry.render_id, reason=error.reason)
            return Wait(True, "the catalogue does not answer")
        situation = await self._outlook.situation(version, entry.shape)
        choice = place(demand, situation, ahead=ahead, finish_in=self._outlook.finish_in(entry))
        if isinstance(choice, Wait):
            await self._make_room(demand, choice, situation)
            return choice
        await self._lease(entry, version, choice, situation)
        return None

    async def _make_room(self, demand: Demand, wait: Wait, situation: Situation) -> None:
        """Have runs of probes give way to those that ask for `demand` and must wait."""
        if demand.in_the_background or not self.probes_under_way():
            return
        wanted = 1
        if wait.is_full:  # this says it of all that ask the same
            limit, running = self._policy.max_running_per_account, self._counts()
            waiting = self._queue.counts_of(demand).items()
            wanted = sum(n if limit is None else max(0, min(n, limit - running[account])) for account, n in waiting)
        await self._giving_way.make_room(demand, wait, situation, wanted)

    async def _lease(self, entry: Entry, version: Version, choice: Take | Start, situation: Situation) -> None:
        expectation = situation.expectation(choice.runtime.target if isinstance(choice, Take) else choice.slot.target)
        if isinstance(choice, Take):
            runtime = self._runtimes.take(choice.runtime, entry.render_id)
        else:
            runtime = self._runtimes.begin(
                version, choice, render_id=entry.render_id, usd_per_hour=expectation.usd_per_hour
            )
        is_cold = runtime.status is RuntimeStatus.STARTING
        lease = Lease(
            runtime_id=runtime.id,
            target=runtime.target,
            is_cold=is_cold,
            until=self._clock.now() + timedelta(seconds=self._policy.lease_seconds),
            why=choice.why,
            is_first_run=not runtime.has_run,
            estimated_cost_usd=expectation.cold_usd if is_cold else expectation.warm_usd,
            estimated_gpu_seconds=expectation.known_seconds(is_cold=is_cold),
            estimated_gpu_seconds_p90=expectation.known_seconds_p90(is_cold=is_cold),
            usd_per_hour=expectation.usd_per_hour,
        )
        # A lease without an attempt would be taken for a lost worker.
        await uninterrupted(self._begin(entry, version, lease, expectation.seconds))

    async def _begin(self, entry: Entry, version: Version, lease: Lease, expected_seconds: float) -> None:
        message = f"starting a runtime on {lease.target}" if lease.is_cold else f"placed on {lease.target}"
        now = self._clock.now()
        try:
            leased = await self._renders.advance(entry.render_id, lambda queued: _leased(queued, lease, now), message)
        except StoreUnavailable:
            self._runtimes.release(lease.runtime_id, entry.render_id)
            raise
        if leased is None:  # canceled or given up between the look and the lease
            self._runtimes.release(lease.runtime_id, entry.render_id)
            if entry.give_up_at is None or entry.give_up_at > now:  # the reaper must find the others
                self._queue.drop(entry.render_id)
            return
        if not leased.probe_id:
            self._runtimes.note_use(lease.runtime_id)
        self._circuits.began((version.slug, version.model_version, lease.target), leased.id)
        self._shares.reserve(leased.id, leased.account, expected_seconds, self._clock.monotonic())
        self._spawn_attempt(leased, version.max_run_seconds)

    async def _spawn(self, render: Render) -> None:
        """Go on with an attempt of an earlier scheduler."""
        max_run_seconds, expected = Version.max_run_seconds, Expectation()
        with suppress(ForgeError):  # while the catalogue does not answer, the usual limits hold
            version = await self._catalog.version(render.slug, render.model_version)
            max_run_seconds = version.max_run_seconds
            expected = (await self._outlook.expectations(version)).get(render.attempts[-1].target, expected)
        self._shares.reserve(render.id, render.account, expected.seconds, self._clock.monotonic())
        self._spawn_attempt(render, max_run_seconds)

    def _spawn_attempt(self, render: Render, max_run_seconds: float) -> None:
        attempt = self._new_attempt(render, max_run_seconds)
        task = asyncio.create_task(attempt.run(), name=f"attempt {render.id}")
        self._running[render.id] = (attempt, task)
        task.add_done_callback(lambda _: self._done(attempt, task))

    def _done(self, attempt: Attempt, task: asyncio.Task[None]) -> None:
        render = attempt.render
        if not task.cancelled() and (error := task.exception()):
            log.error("attempt broke off", render_id=render.id, error=type(error).__name__)
        if (running := self._running.get(render.id)) and running[0] is attempt:
            del self._running[render.id]
        record, now = render.attempts[-1], self._clock.monotonic()
        self._shares.settle(render.id, record.gpu_seconds, now)
        self._count(render, record, now, 0.0)
        self._circuits.left(_key(render, record), render.id, now, well=record.outcome.speaks_well)
        # Now that all of it is counted, the next one may come.
        self._runtimes.release(record.runtime_id, render.id, has_run=record.outcome is Outcome.SUCCEEDED)
        self._news.set()

    def _count(self, render: Render, record: AttemptRecord, now: float, seconds_ago: float) -> None:
        """What an attempt that is over says of its account's day, of how long renders take, and of its target."""
        key = _key(render, record)
        self._day.add(render.account, record.gpu_seconds, now - seconds_ago)
        if record.outcome is Outcome.SUCCEEDED and not record.resumed_steps:
            self._durations.ran(key, max(0.0, record.gpu_seconds - (render.timing.cold_start_ms or 0) / 1000))
        if record.outcome is Outcome.LOST and render.status is RenderStatus.FAILED and record is render.attempts[-1]:
            self._circuits.failed(key, now, seconds_ago=seconds_ago)

    async def _take_back(self, render: Render) -> None:
        """Queue a render whose worker did not outlast the earlier scheduler.

        That is no loss where the scheduler was away for longer than a lease, or died while the runtime started.
        """
        away_seconds = (self._clock.now() - render.attempts[-1].accrued_at).total_seconds()
        is_fault = render.phase is not Phase.STARTING and away_seconds < self._policy.lease_seconds
        message = "the worker was lost" if is_fault else "released: the scheduler was away"

        def change(render: Render) -> Render | None:
            if render.status not in ACTIVE:
                return None
            leave = render.lost if is_fault else render.released
            return leave(self._clock.now(), message)

        taken = await self._renders.advance(render.id, change, message, epoch=render.epoch)
        if taken is not None:
            self._count(taken, taken.attempts[-1], self._clock.monotonic(), 0.0)

    async def _remember_the_day(self) -> None:
        """What was used and what was lost before this scheduler began to count."""
        wall, now = self._clock.now(), self._clock.monotonic()
        yesterday = wall - timedelta(seconds=DAY_SECONDS)
        renders = [*await self._store.ended_since(yesterday), *await self._store.with_status(*WAITING, *ACTIVE)]
        ended = [(record.ended_at, render, record) for render in renders for record in render.attempts]
        for ended_at, render, record in sorted(((a, r, e) for a, r, e in ended if a), key=lambda found: found[0]):
            ago = max(0.0, (wall - ended_at).total_seconds())
            self._shares.remember(render.account, record.gpu_seconds, ago, now)
            self._count(render, record, now, ago)


def _key(render: Render, record: AttemptRecord) -> tuple[str, str, Target]:
    return render.slug, render.model_version, record.target


def _leased(queued: Render, lease: Lease, now: datetime) -> Render | None:
    """The lease, unless the render no longer waits or has waited too long: nothing starts after that."""
    if queued.status is not RenderStatus.QUEUED or (queued.give_up_at is not None and queued.give_up_at <= now):
        return None
    return queued.leased(lease, now)
