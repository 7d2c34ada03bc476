"""One try at a render on one runtime."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from services.chassis.storage import StoreUnavailable
from services.scheduler.domain.errors import MachineAbsent, RuntimeStartFailed, WorkerLost, WorkerOccupied
from services.scheduler.domain.facts import Failure, Outcome, Phase
from services.scheduler.domain.limits import overrun
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import ACTIVE, Render, RenderStatus, expiry
from services.scheduler.object_ports import Checkpoints
from services.scheduler.ports import Assignment, AttemptMoment, Change, Clock, RenderStore, Workers
from services.scheduler.usecases import meters
from services.scheduler.usecases.hold import STORE_RETRY_SECONDS, Hold, Superseded
from services.scheduler.usecases.moments import progressed, succeeded
from services.scheduler.usecases.renders import Renders
from services.scheduler.usecases.runtimes import Runtimes
from services.scheduler.usecases.spans import ColdStart, inside, of_attempt

log = structlog.get_logger()

TICK_SECONDS = 1.0
# After these the device may be in any state: the worker is not used again.
_SPOILS_WORKER = frozenset({"OUT_OF_MEMORY", "ENGINE_FAILED"})


class CancelIgnored(Exception):
    """The worker did not stop in the time it had."""


class Attempt:
    """Drives a leased render on its runtime to an end."""

    def __init__(
        self,
        render: Render,
        *,
        renders: Renders,
        store: RenderStore,
        checkpoints: Checkpoints,
        runtimes: Runtimes,
        workers: Workers,
        clock: Clock,
        policy: Policy,
        max_run_seconds: float,
    ) -> None:
        if render.runtime_id is None:
            raise ValueError("an attempt needs a leased render")
        self._hold = Hold(render, renders=renders, store=store, clock=clock, policy=policy)
        self._runtime_id = render.runtime_id
        self._store = store
        self._checkpoints = checkpoints
        self._runtimes = runtimes
        self._workers = workers
        self._clock = clock
        self._policy = policy
        self._max_run_seconds = max_run_seconds
        self._canceled = asyncio.Event()
        self._canceled_at: float | None = None
        self._is_draining = False
        self._known_checkpoints: set[str] = set()

    def cancel(self) -> None:
        """Ask for the end; the store has the render as canceling already."""
        if self._canceled_at is None:
            self._canceled_at = self._clock.monotonic()
            self._canceled.set()

    def drain(self) -> None:
        """From now on, losing the worker is no loss: it is being told to end."""
        self._is_draining = True

    @property
    def render(self) -> Render:
        """As it was last written."""
        return self._hold.render

    def remaining_seconds(self) -> float | None:
        """How long the attempt is expected to go on, None when nobody knows."""
        return self._hold.remaining_seconds()

    async def run(self) -> None:
        """Run until the render has ended or is queued again. Raises nothing but CancelledError, which releases it.

        The runtime is given back by whoever took it for the attempt.
        """
        with inside(of_attempt(self.render)):
            try:
                await self._run()
                await self._remove_spent_checkpoints()
            except Superseded:
                log.info("attempt superseded", render_id=self.render.id, epoch=self.render.epoch)
                await self._stop_worker()

    async def _run(self) -> None:
        try:
            await self._watched(self._work())
        except RuntimeStartFailed as error:
            failure = Failure(error.cause_reason, error.message, retry=error.retry)
            if self._is_draining:
                await self._release("released: the platform is shutting down")
            elif isinstance(error, MachineAbsent):
                await self._give_back(f"released: {error.message}")
            elif error.retry:
                await self._lose(error.message, failure)
            else:
                await self._end(RenderStatus.FAILED, error.message, error=failure)
        except WorkerLost:
            self._runtimes.discard(self._runtime_id)
            if self._is_draining:
                await self._release("released: the platform is shutting down")
            else:
                await self._lose("the worker was lost")
        except WorkerOccupied:
            self._runtimes.discard(self._runtime_id)
            await self._release("released: the worker was at something else")
        except CancelIgnored:
            self._runtimes.discard(self._runtime_id)
            await self._end(RenderStatus.CANCELED, "canceled; the worker did not answer")
        except asyncio.CancelledError:
            with suppress(TimeoutError):  # a store that is away now will be found as it is
                async with asyncio.timeout(3 * STORE_RETRY_SECONDS):
                    await self._release("released: the platform is shutting down")
            raise
        except Superseded:
            raise
        except Exception:
            log.exception("attempt failed unexpectedly", render_id=self.render.id)
            await self._end(RenderStatus.FAILED, "internal error", error=Failure("INTERNAL", "internal error"))

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work until it is done, or until the watch says that it must not go on."""
        tasks = [asyncio.create_task(work), asyncio.create_task(self._watch())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:  # the work's own end counts before the watch's
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _watch(self) -> None:
        """Stop what runs too long, costs too much or misses its deadline. WorkerLost, CancelIgnored, Superseded."""
        while True:
            await self._clock.sleep(TICK_SECONDS)
            now, lease = self._clock.monotonic(), self._policy.lease_seconds
            if self._canceled_at is not None and now - self._canceled_at > 2 * lease:
                raise CancelIgnored
            if self._hold.silent_seconds() > lease:
                log.warning("worker silent for too long", render_id=self.render.id, runtime_id=self._runtime_id)
                raise WorkerLost
            if self._canceled_at is None and (failure := self._overrun()):
                await self._write(partial(_stopping, failure), failure.message)
                self.cancel()

    def _overrun(self) -> Failure | None:
        elapsed = self._hold.elapsed_seconds()
        return overrun(self.render, self._clock.now(), elapsed_seconds=elapsed, max_run_seconds=self._max_run_seconds)

    async def _work(self) -> None:
        if await self._warm_up():
            await self._follow_worker()

    async def _warm_up(self) -> bool:
        """Wait until the runtime is warm, unless it is already; False when the render was canceled meanwhile."""
        if self.render.phase is not Phase.STARTING:
            return True
        following = asyncio.create_task(self._follow_start())
        canceled = asyncio.create_task(self._canceled.wait())
        try:
            await asyncio.wait({following, canceled}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                await following
                return True
        finally:
            following.cancel()
            canceled.cancel()
            await asyncio.gather(following, canceled, return_exceptions=True)
        await self._end(RenderStatus.CANCELED, "canceled")
        return False

    async def _follow_start(self) -> None:
        """Tell of the start. Its own patience ends it when it hangs; meanwhile the lease is renewed in silence."""
        began, cold_start, is_warm = self._clock.monotonic(), ColdStart(self._clock.now()), False
        try:
            async with aclosing(self._runtimes.starting(self._runtime_id, every_seconds=TICK_SECONDS)) as moments:
                async for moment in moments:
                    self._hold.heard()
                    if moment is None:
                        await self._hold.renew()
                    else:
                        cold_start.note(moment, self._clock.now())
                        await self._write(_still_active, moment.message)
            is_warm = True
        finally:
            cold_start.tell(self.render, self._clock.now(), failed=not is_warm)
        cold_start_ms = round((self._clock.monotonic() - began) * 1000)
        runtime = self._runtimes.get(self._runtime_id)
        if self.render.target is not None:
            meters.cold_start(self.render, self.render.target, cold_start_ms / 1000)

        def warm(render: Render) -> Render | None:
            *earlier, last = render.attempts
            timing = replace(render.timing, cold_start_ms=cold_start_ms)
            record = replace(last, startup_ms=runtime.startup_ms if runtime else None)
            return _still_active(replace(render, phase=Phase.ENCODING, timing=timing, attempts=(*earlier, record)))

        await self._write(warm, "the runtime is warm")

    async def _follow_worker(self) -> None:
        runtime = self._runtimes.get(self._runtime_id)
        if runtime is None or runtime.address is None:
            raise WorkerLost
        address = runtime.address
        assignment = Assignment(
            render_id=self.render.id,
            epoch=self.render.epoch,
            inputs=await self._inputs(),
            output_key=f"{self.render.folder}/video.mp4",
            checkpoint_key=self.render.checkpoint_key,
            fail_when_out_of_memory=self.render.fail_when_out_of_memory,
            pause_after_step=self.render.pause_after_step,
            trace_context=of_attempt(self.render),
        )
        passing_on = asyncio.create_task(self._pass_on_cancel(address))
        try:
            async with aclosing(self._workers.render(address, assignment, self.render.worker_seq)) as moments:
                async for moment in moments:
                    self._hold.heard()
                    if moment.seq > self.render.worker_seq and await self._note(moment):
                        return
        finally:
            passing_on.cancel()
            await asyncio.gather(passing_on, return_exceptions=True)
        raise WorkerLost  # the stream ended without a result

    async def _pass_on_cancel(self, address: str) -> None:
        """Ask the worker to stop, again and again: a question may be lost."""
        await self._canceled.wait()
        while True:
            try:
                await self._workers.cancel(address, self.render.id, self.render.epoch)
            except WorkerLost:
                log.info("cancel not delivered", render_id=self.render.id)
            await self._clock.sleep(self._policy.lease_seconds / 6)

    async def _note(self, moment: AttemptMoment) -> bool:
        """Write what the worker said; True when it was its last word."""
        now = self._clock.now()
        self._known_checkpoints |= {self.render.checkpoint_key, moment.checkpoint_key}
        if (made := moment.result) is not None:
            changes = succeeded(self.render, moment, made, now)
            await self._end(RenderStatus.SUCCEEDED, "the video is ready", **changes)
        elif moment.failure is not None and moment.failure.reason == "WORKER_STOPPING":
            await self._release("released: the worker was told to end", moment)
            self._runtimes.discard(self._runtime_id)
        elif moment.failure is not None:
            await self._end(RenderStatus.FAILED, moment.failure.message, error=moment.failure, worker_seq=moment.seq)
            if moment.failure.reason in _SPOILS_WORKER:
                self._runtimes.discard(self._runtime_id)
        elif moment.canceled:
            await self._end(RenderStatus.CANCELED, "canceled", worker_seq=moment.seq)
        elif moment.paused:
            await self._write(lambda render: self._paused(progressed(render, moment, now)), "paused")
        else:
            await self._write(lambda render: _still_active(progressed(render, moment, now)), moment.message)
            return False
        return True

    def _paused(self, render: Render) -> Render | None:
        now = self._clock.now()
        if render.status is RenderStatus.CANCELING:
            return render.stopped(now)
        return render.paused(now, expiry(now, self._policy.paused_ttl)) if render.status in ACTIVE else None

    async def _end(self, to: RenderStatus, message: str, **changes: Any) -> None:
        def change(render: Render) -> Render | None:
            now = self._clock.now()
            if render.status is RenderStatus.CANCELING and to is not RenderStatus.SUCCEEDED:
                return render.stopped(now)
            if render.status is RenderStatus.RUNNING and to is RenderStatus.CANCELED:
                failure = Failure("ENGINE_FAILED", "the worker stopped it without being asked to", retry=True)
                return render.ended(RenderStatus.FAILED, now, error=failure)
            return render.ended(to, now, **changes) if render.status in ACTIVE else None

        if to is RenderStatus.CANCELED and self.render.stopping is not None:
            message = self.render.stopping.message
        await self._write(change, message)
        log.info("render ended", render_id=self.render.id, status=self.render.status, target=str(self.render.target))

    async def _lose(self, message: str, cause: Failure | None = None) -> None:
        """Give the render back for another try, unless it has had them all. The dead hold no device time."""
        now = self._clock.now()
        await self._write(
            lambda render: render.lost(now, message, cause) if render.status in ACTIVE else None, message, accrue=False
        )

    async def _give_back(self, message: str) -> None:
        """Put the render back into the queue, since there is no machine for it."""
        now = self._clock.now()
        await self._write(lambda render: render.unplaced(now, message) if render.status in ACTIVE else None, message)

    async def _release(self, message: str, moment: AttemptMoment | None = None) -> None:
        """Put the render back into the queue, with what the worker last said; this is no fault of the render."""
        now = self._clock.now()

        def change(render: Render) -> Render | None:
            told = progressed(render, moment, now) if moment else render
            return told.released(now, message) if render.status in ACTIVE else None

        await self._write(change, message)

    async def _remove_spent_checkpoints(self) -> None:
        """Now that it is on record who goes on from where."""
        for key in sorted(filter(self.render.spends, self._known_checkpoints)):
            await self._checkpoints.remove(key)

    async def _stop_worker(self) -> None:
        """Nobody waits for what the worker makes any more."""
        runtime = self._runtimes.get(self._runtime_id)
        if runtime is not None and runtime.address is not None:
            try:
                await self._workers.cancel(runtime.address, self.render.id, self.render.epoch)
            except WorkerLost:
                log.info("cancel not delivered", render_id=self.render.id)

    async def _inputs(self) -> Any:
        while True:
            try:
                return await self._store.inputs(self.render.id)
            except StoreUnavailable:
                self._hold.heard()  # the worker is not to blame
                await self._clock.sleep(STORE_RETRY_SECONDS)

    async def _write(self, change: Change, message: str, *, accrue: bool = True) -> None:
        await self._hold.write(lambda render: self._with_software(change(render)), message, accrue=accrue)
        if self.render.status is RenderStatus.CANCELING:
            self.cancel()  # also when nobody told this attempt

    def _with_software(self, after: Render | None) -> Render | None:
        """The render with what this attempt's results relied on, if it ends the attempt."""
        runtime = self._runtimes.get(self._runtime_id)
        if after is None or runtime is None or after.attempts[-1].outcome is Outcome.RUNNING:
            return after
        *earlier, last = after.attempts
        return replace(after, attempts=(*earlier, replace(last, software=runtime.software)))


def _stopping(failure: Failure, render: Render) -> Render | None:
    if render.status is RenderStatus.RUNNING:
        return render.moved(RenderStatus.CANCELING, stopping=failure)
    return _still_active(render)


def _still_active(render: Render) -> Render | None:
    return render if render.status in ACTIVE else None


AttemptFactory = Callable[[Render, float], Attempt]
"""Makes an attempt of a leased render that may run for so many seconds."""
