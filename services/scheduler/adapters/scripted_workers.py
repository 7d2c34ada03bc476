"""Workers without processes: a placer and workers in memory, for trying the scheduler without engines."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

from services.scheduler.domain.errors import RuntimeStartFailed, WorkerLost
from services.scheduler.domain.fleet import Slot
from services.scheduler.domain.render import Failure, Output, PeakMemory, Phase
from services.scheduler.ports import (
    Assignment,
    AttemptMoment,
    LoadMoment,
    Made,
    Version,
    WorkerProcess,
    WorkerState,
)

_VIDEO_FRAMES, _VIDEO_FPS = 25, 7.0
_VIDEO_SECONDS = _VIDEO_FRAMES / _VIDEO_FPS


@dataclass
class Worker:
    """One scripted worker. It takes a step only when `steps` allows one more."""

    id: str
    slot: Slot
    loaded: tuple[str, str] | None = None
    assignment: Assignment | None = None
    moments: list[AttemptMoment] = field(default_factory=list)
    canceled: bool = False


class ScriptedWorkers:
    """Implements the ports `Placer` and `Workers`. Attempts wait for `let_through` before each step unless `free`."""

    def __init__(self, *, total_steps: int = 3, free: bool = True, load_failure: Failure | None = None) -> None:
        self.total_steps = total_steps
        self.load_failure = load_failure
        self.launch_error: RuntimeStartFailed | None = None
        self.render_failure: Failure | None = None
        self.makes_pieces = False
        """Whether each step finishes a piece of the video."""
        self.workers: dict[str, Worker] = {}
        self.launched: list[str] = []
        self.rendered: list[Assignment] = []
        self.loading = asyncio.Event()
        """Loads wait for it."""
        self.loading.set()
        self._changed = asyncio.Condition()
        self._allowed_steps = float("inf") if free else 0

    async def let_through(self, steps: int) -> None:
        """Allow this many further steps, over all workers."""
        async with self._changed:
            self._allowed_steps += steps
            self._changed.notify_all()

    async def kill(self, worker_id: str) -> None:
        """Let a worker vanish."""
        async with self._changed:
            del self.workers[worker_id]
            self._changed.notify_all()

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

    async def terminate(self, runtime_id: str, process: WorkerProcess) -> None:
        """End a worker."""
        if runtime_id in self.workers:
            await self.kill(runtime_id)

    # Workers

    async def load(self, address: str, version: Version) -> AsyncGenerator[LoadMoment, None]:
        """Load a version."""
        yield LoadMoment("weights", "loading weights")
        await self.loading.wait()
        self._worker(address).loaded = (version.slug, version.model_version)
        if self.load_failure is not None:
            yield LoadMoment("failed", self.load_failure.message, self.load_failure)
        else:
            yield LoadMoment("ready", "ready")

    async def render(self, address: str, assignment: Assignment, after_seq: int) -> AsyncGenerator[AttemptMoment, None]:
        """Run or re-join an attempt."""
        worker = self._worker(address)
        if worker.assignment is None or worker.assignment.epoch != assignment.epoch:
            worker.assignment, worker.moments, worker.canceled = assignment, [], False
            self.rendered.append(assignment)
        seq = after_seq
        while True:
            worker = self._worker(address)
            if seq < len(worker.moments):
                moment = worker.moments[seq]
                seq += 1
                yield moment
                if moment.result or moment.failure or moment.canceled:
                    worker.assignment = None
                    return
                continue
            async with self._changed:
                await self._changed.wait_for(
                    lambda: address not in self.workers or self.workers[address].canceled or self._allowed_steps > 0
                )
            if address in self.workers:
                self._allowed_steps -= 1
                worker.moments.append(self._next(worker, assignment))

    async def cancel(self, address: str, render_id: str, epoch: int) -> None:
        """Ask for an attempt to stop."""
        async with self._changed:
            self._worker(address).canceled = True
            self._changed.notify_all()

    async def state(self, address: str) -> WorkerState:
        """What the worker is doing."""
        worker = self._worker(address)
        slug, model_version = worker.loaded or ("", "")
        render_id = worker.assignment.render_id if worker.assignment else ""
        return WorkerState(worker.id, "ready" if worker.loaded else "empty", slug, model_version, render_id)

    def _worker(self, address: str) -> Worker:
        if address not in self.workers:
            raise WorkerLost
        return self.workers[address]

    def _next(self, worker: Worker, assignment: Assignment) -> AttemptMoment:
        done = min(len(worker.moments), self.total_steps)
        moment = AttemptMoment(
            seq=len(worker.moments) + 1,
            phase=Phase.DENOISING,
            done_steps=done,
            total_steps=self.total_steps,
            fraction=done / (self.total_steps + 1),
            eta_seconds_p50=None,
            eta_seconds_p90=None,
            message=f"step {done} of {self.total_steps}",
            pieces=done if self.makes_pieces else 0,
            playable_seconds=done / self.total_steps * _VIDEO_SECONDS if self.makes_pieces else 0.0,
            preview_key=f"{assignment.output_key}.{done}.webp" if done else "",
            checkpoint_key=f"{assignment.output_key}.safetensors" if done else "",
        )
        if worker.canceled:
            return _ending(moment, canceled=True)
        if len(worker.moments) <= self.total_steps:
            return moment
        if self.render_failure is not None:
            return _ending(moment, failure=self.render_failure)
        output = Output(assignment.output_key, "video/mp4", 5, "ab" * 32, 64, 64, _VIDEO_FRAMES, _VIDEO_FPS)
        return _ending(moment, output=output)


def _ending(
    moment: AttemptMoment,
    *,
    output: Output | None = None,
    failure: Failure | None = None,
    canceled: bool = False,
) -> AttemptMoment:
    made = output and Made(
        output=output,
        phase_ms={"encoding": 10, "denoising": 20, "decoding": 30, "muxing": 4, "storing": 5},
        warnings=("the aspect ratio changed",),
        mode="scripted",
        peak_memory={"denoising": PeakMemory(1000, 2000)},
        eta_error=0.25,
    )
    return replace(
        moment,
        phase=Phase.DONE,
        done_steps=moment.total_steps,
        fraction=1.0,
        message="done",
        result=made,
        failure=failure,
        canceled=canceled,
    )
