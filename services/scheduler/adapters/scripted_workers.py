"""Workers without processes: a placer and workers in memory, for trying the scheduler without engines."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextvars import Context
from dataclasses import dataclass, field, replace
from functools import partial

from services.scheduler.adapters.scripted_attempt import ScriptedAttempt, is_last
from services.scheduler.domain.errors import RuntimeStartFailed, WorkerLost, WorkerOccupied
from services.scheduler.domain.facts import Failure
from services.scheduler.domain.fleet import Slot
from services.scheduler.ports import Assignment, AttemptMoment, LoadMoment, Version, WorkerProcess, WorkerState

HEARTBEAT_SECONDS = 4.0
"""The longest time without a word; the contract allows five."""

_WEIGHTS_BYTES = 1000.0


@dataclass
class Worker:
    """One scripted worker, and what is wrong with it."""

    id: str
    slot: Slot
    loaded: tuple[str, str] | None = None
    attempts: dict[tuple[str, int], ScriptedAttempt] = field(default_factory=dict)
    """By render and epoch."""
    failure: Failure | None = None
    """How its attempts end instead of with a video."""
    ignores_cancel: bool = False
    is_silent: bool = False
    """It hangs: it is there, but neither goes on nor answers."""
    is_gone: bool = False
    is_killed: bool = False
    """Gone without a last word."""

    @property
    def running(self) -> ScriptedAttempt | None:
        """The attempt under way."""
        return next((attempt for attempt in self.attempts.values() if not attempt.is_over), None)


class ScriptedWorkers:
    """Implements the ports `Placer` and `Workers`.

    Attempts go on whether anybody follows them or not. They wait for `let_through` before each of their moments unless
    `free`, and then take `step_seconds` for a step.
    """

    def __init__(
        self,
        *,
        total_steps: int = 3,
        free: bool = True,
        step_seconds: float = 0.0,
        load_seconds: float = 0.0,
        load_failure: Failure | None = None,
    ) -> None:
        self.total_steps = total_steps
        self.step_seconds = step_seconds
        self.load_seconds = load_seconds
        self.load_failure = load_failure
        self.launch_error: RuntimeStartFailed | None = None
        self.render_failure: Failure | None = None
        self.makes_pieces = False
        """Whether each step finishes a piece of the video."""
        self.says_everything_twice = False
        self.loads_in_silence = False
        self.occupied_calls = 0
        """So many of the next Render calls find the worker at something else."""
        self.lost_cancels = 0
        """So many of the next Cancel calls are lost."""
        self.workers: dict[str, Worker] = {}
        self.launched: list[str] = []
        self.rendered: list[Assignment] = []
        self.cancels: list[tuple[str, int]] = []
        """Render and epoch of each Cancel call that arrived."""
        self.terminated: list[tuple[str, bool]] = []
        """Each worker that was ended, and whether kindly."""
        self.loading = asyncio.Event()
        """Loads wait for it."""
        self.loading.set()
        self._steps_kept: dict[str, int] = {}
        """Steps in each checkpoint, by its key."""
        self._allowed_moments = float("inf") if free else 0
        self._news = asyncio.Event()

    async def let_through(self, steps: int) -> None:
        """Allow this many further moments, over all workers."""
        self._allowed_moments += steps
        self._ring()

    async def kill(self, worker_id: str) -> None:
        """Let a worker vanish in the middle of a word."""
        self.workers[worker_id].is_killed = True
        self._remove(worker_id)

    async def silence(self, worker_id: str, *, is_silent: bool = True) -> None:
        """Let a worker hang, or go on again. Its streams stay open."""
        self.workers[worker_id].is_silent = is_silent
        self._ring()

    # Placer

    async def launch(self, runtime_id: str, slot: Slot) -> WorkerProcess:
        """Start a worker."""
        if self.launch_error is not None:
            raise self.launch_error
        self.workers[runtime_id] = Worker(runtime_id, slot)
        self.launched.append(str(slot.target))
        return WorkerProcess(address=runtime_id, pid=len(self.launched))

    async def is_alive(self, runtime_id: str, process: WorkerProcess) -> bool:
        """Whether the worker is there."""
        return runtime_id in self.workers

    async def terminate(self, runtime_id: str, process: WorkerProcess, *, kindly: bool = True) -> None:
        """End a worker; one that hears it takes leave of its attempt with a checkpoint."""
        if worker := self.workers.get(runtime_id):
            self.terminated.append((runtime_id, kindly))
            worker.is_killed = not kindly or worker.is_silent
            if not worker.is_killed and (attempt := worker.running):
                self._tell(attempt, attempt.stopping())
            self._remove(runtime_id)

    # Workers

    async def load(self, address: str, version: Version) -> AsyncGenerator[LoadMoment, None]:
        """Load a version."""
        done, nap = 0.0, HEARTBEAT_SECONDS
        yield LoadMoment("weights", "loading weights", done_bytes=0.0, total_bytes=_WEIGHTS_BYTES)
        while done < self.load_seconds:
            await asyncio.sleep(min(nap, self.load_seconds - done))
            done += nap
            share = min(1.0, done / self.load_seconds)
            yield LoadMoment("weights", "loading", done_bytes=share * _WEIGHTS_BYTES, total_bytes=_WEIGHTS_BYTES)
        while not self.loading.is_set() or self.loads_in_silence:
            try:
                async with asyncio.timeout(None if self.loads_in_silence else nap):
                    await (asyncio.Event() if self.loads_in_silence else self.loading).wait()
            except TimeoutError:
                yield LoadMoment("weights", "loading weights")
        self._worker(address).loaded = (version.slug, version.model_version)
        if self.load_failure is not None:
            yield LoadMoment("failed", self.load_failure.message, self.load_failure)
        else:
            yield LoadMoment("ready", "ready", software={"engine": "scripted"})

    async def render(self, address: str, assignment: Assignment, after_seq: int) -> AsyncGenerator[AttemptMoment, None]:
        """Run or re-join an attempt."""
        worker = self._worker(address)
        if self.occupied_calls > 0:
            self.occupied_calls -= 1
            raise WorkerOccupied("another render is running")
        attempt = worker.attempts.get((assignment.render_id, assignment.epoch)) or self._begin(worker, assignment)
        told = after_seq
        while True:
            await self._until(partial(_can_tell, worker, attempt, told))
            if worker.is_killed or told >= len(attempt.moments):
                raise WorkerLost
            moment = attempt.moments[told]
            told += 1
            for _ in range(2 if self.says_everything_twice else 1):
                yield moment
            if is_last(moment):
                return

    async def cancel(self, address: str, render_id: str, epoch: int) -> None:
        """Ask for an attempt to stop."""
        worker = self._worker(address)
        if self.lost_cancels > 0 or worker.is_silent:
            self.lost_cancels = max(0, self.lost_cancels - 1)
            raise WorkerLost
        self.cancels.append((render_id, epoch))
        if (attempt := worker.attempts.get((render_id, epoch))) and not worker.ignores_cancel:
            attempt.is_canceled = True
            self._ring()

    async def state(self, address: str) -> WorkerState:
        """What the worker is doing."""
        worker = self._worker(address)
        if worker.is_silent:
            raise WorkerLost
        slug, model_version = worker.loaded or ("", "")
        render_id = worker.running.assignment.render_id if worker.running else ""
        return WorkerState(worker.id, "ready" if worker.loaded else "empty", slug, model_version, render_id)

    # Within

    def _worker(self, address: str) -> Worker:
        if address not in self.workers:
            raise WorkerLost
        return self.workers[address]

    def _remove(self, worker_id: str) -> None:
        worker = self.workers.pop(worker_id)
        worker.is_gone = True
        for attempt in worker.attempts.values():
            if attempt.task is not None:
                attempt.task.cancel()
        self._ring()

    def _begin(self, worker: Worker, assignment: Assignment) -> ScriptedAttempt:
        """Begin an attempt; a higher epoch of the render that runs ends the lower one. WorkerOccupied."""
        if running := worker.running:
            if (running.assignment.render_id, running.assignment.epoch) >= (assignment.render_id, assignment.epoch):
                raise WorkerOccupied("a later attempt was begun")
            if running.assignment.render_id != assignment.render_id:
                raise WorkerOccupied("another render is running")
            self._tell(running, running.canceled())
        attempt = ScriptedAttempt(
            assignment,
            total_steps=self.total_steps,
            done_steps=self._steps_kept.get(assignment.checkpoint_key, 0),
            step_seconds=self.step_seconds,
            makes_pieces=self.makes_pieces,
        )
        worker.attempts[assignment.render_id, assignment.epoch] = attempt
        self.rendered.append(assignment)
        # It lives in the worker, not in who asked for it: the call may end, and so may the caller.
        attempt.task = asyncio.get_running_loop().create_task(self._run(worker, attempt), context=Context())
        return attempt

    async def _run(self, worker: Worker, attempt: ScriptedAttempt) -> None:
        beating = asyncio.create_task(self._beat(worker, attempt))
        try:
            while not attempt.is_over:
                await self._until(partial(self._may_go_on, worker, attempt))
                if not attempt.is_canceled:
                    self._allowed_moments -= 1
                    if self.step_seconds and attempt.takes_a_step:
                        await asyncio.sleep(self.step_seconds)
                        await self._until(lambda: not worker.is_silent)
                self._tell(attempt, attempt.next(worker.failure or self.render_failure))
        finally:
            beating.cancel()

    async def _beat(self, worker: Worker, attempt: ScriptedAttempt) -> None:
        """Say again what was said last, so that nobody wonders."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            if attempt.moments and not attempt.is_over and not worker.is_silent:
                self._tell(attempt, attempt.moments[-1])

    def _may_go_on(self, worker: Worker, attempt: ScriptedAttempt) -> bool:
        return not worker.is_silent and (attempt.is_canceled or self._allowed_moments > 0)

    def _tell(self, attempt: ScriptedAttempt, moment: AttemptMoment) -> None:
        attempt.moments.append(replace(moment, seq=len(attempt.moments) + 1))
        if moment.checkpoint_key:
            self._steps_kept[moment.checkpoint_key] = moment.done_steps
        self._ring()

    def _ring(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._news.wait()


def _can_tell(worker: Worker, attempt: ScriptedAttempt, told: int) -> bool:
    return worker.is_gone or (not worker.is_silent and told < len(attempt.moments))
