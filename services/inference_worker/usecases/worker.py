"""The inference worker: loads one version, runs one attempt at a time, and replays those that are over."""

from __future__ import annotations  # numpy is only a word here: the worker serves before it imports it

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any

import structlog
from opentelemetry import trace

from services.chassis.clock import Clock
from services.chassis.errors import ForgeError, ServiceUnavailable
from services.inference_worker.domain.attempt import (
    Assignment,
    AttemptEvent,
    AttemptId,
    Canceled,
    Failure,
    Output,
    Phase,
    StartEvent,
    WorkerStatus,
)
from services.inference_worker.domain.errors import (
    CheckpointRefused,
    OutOfMemory,
    RenderStopped,
    StorageFailed,
    WorkerBusy,
    WorkerStopping,
    failure_of,
)
from services.inference_worker.domain.progress import Pace
from services.inference_worker.domain.version import Version, WorkerState
from services.inference_worker.ports import (
    Engine,
    EngineLoader,
    Moment,
    ObjectStore,
    PictureEncoder,
    Rendered,
    VideoEncoder,
)
from services.inference_worker.usecases.attempt import Attempt
from services.inference_worker.usecases.footage import Footage
from services.inference_worker.usecases.presence import Presence
from services.inference_worker.usecases.serial_thread import SerialThread
from services.inference_worker.usecases.start import Start
from services.inference_worker.usecases.traces_of_errors import where

log = structlog.get_logger()
tracer = trace.get_tracer(__name__)

FINISHED_ATTEMPTS_KEPT = 32


class InferenceWorker:
    """One process with one device."""

    def __init__(
        self,
        worker_id: str,
        *,
        loader: EngineLoader,
        encoder: VideoEncoder,
        pictures: PictureEncoder,
        objects: ObjectStore,
        device: SerialThread,
        clock: Clock,
    ) -> None:
        self._worker_id = worker_id
        self._loader = loader
        self._encoder = encoder
        self._pictures = pictures
        self._objects = objects
        self._device = device
        self._encoding = SerialThread("encoding")
        self._clock = clock
        self._presence = Presence(clock)
        self._pace = Pace()
        self._start: Start | None = None
        self._attempts: OrderedDict[AttemptId, Attempt] = OrderedDict()
        self._running: Attempt | None = None
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def load(self, version: Version) -> AsyncGenerator[StartEvent, None]:
        """Load a version, or follow its load, or learn that it is loaded. A failed load can be tried again.

        Raises WorkerBusy when another version is loaded or loading.
        """
        with self._presence.attached():
            start = self._start
            if start is None or start.state is WorkerState.FAILED:
                self._refuse_when_stopping()
                start = Start(version, loader=self._loader, device=self._device, clock=self._clock)
                self._start = start
                self._spawn(start.run())
            elif start.version != version:
                raise WorkerBusy(f"this worker is for {start.version.slug} {start.version.model_version}")
            async with aclosing(start.follow()) as events:
                async for event in events:
                    yield event

    async def render(self, assignment: Assignment, after_seq: int = 0) -> AsyncGenerator[AttemptEvent, None]:
        """Begin an attempt, or join it, running or over; its events after `after_seq`, up to the last one.

        Leaving does not stop the attempt. A higher epoch of the running render stops the lower one first.
        Raises WorkerBusy when another render runs, a higher epoch is known, or nothing is loaded.
        """
        with self._presence.attached():
            attempt = self._attempts.get(assignment.id) or self._begin(assignment)
            async with aclosing(attempt.log.follow(after_seq)) as events:
                async for event in events:
                    yield event

    async def cancel(self, attempt_id: AttemptId) -> None:
        """Stop an attempt within one step. Nothing happens when it is over or unknown."""
        self._presence.heard()
        if attempt := self._attempts.get(attempt_id):
            attempt.stop.give(Canceled())

    async def status(self) -> WorkerStatus:
        """What the worker is doing."""
        self._presence.heard()
        start, running = self._start, self._running
        return WorkerStatus(
            worker_id=self._worker_id,
            state=start.state if start else WorkerState.EMPTY,
            version=start.version if start and start.state is WorkerState.READY else None,
            running=running.id if running else None,
        )

    async def until_orphaned(self, silence_seconds: float) -> None:
        """Return once no call was heard and no stream was open for so long."""
        await self._presence.until_silent_for(silence_seconds)
        log.warning("nobody called for too long", silence_seconds=silence_seconds)

    async def stop(self, grace_seconds: float) -> None:
        """Begin nothing new, stop what runs, and wait up to `grace_seconds` for it to end."""
        self._stopping = True
        if self._running:
            self._running.stop.give(failure_of(WorkerStopping(), self._running.doing))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)
        self._encoding.close()

    def _begin(self, assignment: Assignment) -> Attempt:
        self._refuse_when_stopping()
        engine = self._start.engine if self._start else None
        if engine is None:
            raise WorkerBusy("this worker has nothing loaded to render with")
        render_id, epoch = assignment.id.render_id, assignment.id.epoch
        if any(known.render_id == render_id and known.epoch > epoch for known in self._attempts):
            raise WorkerBusy("a later attempt at this render was begun")
        if self._running and self._running.id.render_id != render_id:
            raise WorkerBusy("another render is running")
        if self._running:
            self._running.stop.give(Canceled())
        attempt = Attempt(
            assignment.id,
            folder=assignment.folder,
            objects=self._objects,
            pictures=self._pictures,
            clock=self._clock,
        )
        self._running = attempt
        self._attempts[attempt.id] = attempt
        self._forget_oldest()
        self._spawn(self._run(attempt, assignment, engine))
        return attempt

    async def _run(self, attempt: Attempt, assignment: Assignment, engine: Engine) -> None:
        facts = {"render_id": attempt.id.render_id, "epoch": attempt.id.epoch}
        log.info("attempt began", **facts)
        with tracer.start_as_current_span(
            "attempt", attributes={"forge.render_id": attempt.id.render_id, "forge.epoch": attempt.id.epoch}
        ):
            result: Output | Failure | Canceled
            try:
                result = await self._make_video(attempt, assignment, engine)
            except RenderStopped:
                result = attempt.stop.result
            except Exception as error:
                result = failure_of(error, attempt.doing)
                if not isinstance(error, ForgeError):
                    log.error("unexpected error in an attempt", **facts, **where(error))
            if self._running is attempt:
                self._running = None
            await attempt.end(result)
            log.info(
                "attempt ended",
                **facts,
                result=type(result).__name__.lower(),
                reason=result.reason if isinstance(result, Failure) else None,
                phase_ms=dict(attempt.phase_ms),
            )

    async def _make_video(self, attempt: Attempt, assignment: Assignment, engine: Engine) -> Output:
        checkpoint, notes = await self._checkpoint_of(assignment)
        attempt.check()
        plan = await self._device.run(lambda: engine.plan(assignment.inputs))
        footage = Footage(
            self._encoder.record(plan.width, plan.height, plan.fps, plan.cuts),
            encoding=self._encoding,
            objects=self._objects,
            folder=assignment.folder,
            on_piece=lambda pieces, frames: attempt.can_play(pieces, frames / plan.fps),
        )
        try:
            attempt.begin(plan, self._pace, footage.take)
            rendered, more_notes = await self._device.run(lambda: _render(engine, assignment, attempt, checkpoint))
            attempt.report(Moment(Phase.MUXING, 0.0, message="finishing the file"))
            video = await footage.finish()
        finally:
            footage.drop()
        attempt.check()
        attempt.report(Moment(Phase.STORING, 0.0))
        await self._objects.put(assignment.output_key, video)
        await attempt.forget_checkpoint()
        attempt.leave_last_phase(self._pace)
        return Output(
            key=assignment.output_key,
            media_type=self._encoder.media_type,
            size_bytes=len(video),
            sha256=hashlib.sha256(video).hexdigest(),
            width=plan.width,
            height=plan.height,
            num_frames=plan.num_frames,
            fps=plan.fps,
            phase_ms=attempt.phase_ms,
            warnings=(*notes, *more_notes, *plan.warnings),
            mode=plan.mode,
            peak_memory=rendered.peak_memory,
            eta_error=attempt.eta_error,
        )

    async def _checkpoint_of(self, assignment: Assignment) -> tuple[bytes | None, tuple[str, ...]]:
        """The checkpoint to go on from, if there is one, and what the sender should know about that."""
        if not assignment.checkpoint_key:
            return None, ()
        try:
            return await self._objects.get(assignment.checkpoint_key), ()
        except StorageFailed:
            return None, ("the render began again: its checkpoint could not be read",)

    def _forget_oldest(self) -> None:
        finished = [attempt_id for attempt_id, attempt in self._attempts.items() if attempt.log.is_closed]
        for attempt_id in finished[:-FINISHED_ATTEMPTS_KEPT]:
            del self._attempts[attempt_id]

    def _refuse_when_stopping(self) -> None:
        if self._stopping:
            raise ServiceUnavailable("this worker")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _render(
    engine: Engine, assignment: Assignment, attempt: Attempt, checkpoint: bytes | None
) -> tuple[Rendered, tuple[str, ...]]:
    """Render, if need be once more from where it still can; also what the sender should know about that."""
    attempt.check()
    try:
        return engine.render(assignment.inputs, attempt, checkpoint), ()
    except CheckpointRefused as refusal:
        return engine.render(assignment.inputs, attempt), (f"the render began again: {refusal.message}",)
    except OutOfMemory:
        if not assignment.may_make_room or not engine.make_room():
            raise
        attempt.show_again()
        rendered = engine.render(assignment.inputs, attempt, attempt.newest_checkpoint or checkpoint)
        return rendered, ("the device ran out of memory; the render was finished with less, but more slowly",)
