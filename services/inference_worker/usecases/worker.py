"""The inference worker: loads one version, runs one attempt at a time, and replays those that are over."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any

import structlog

from services.chassis.clock import Clock
from services.chassis.errors import ForgeError
from services.inference_worker.domain.attempt import (
    Assignment,
    AttemptEvent,
    AttemptId,
    AttemptResult,
    Canceled,
    Failure,
    StartEvent,
    WorkerStatus,
)
from services.inference_worker.domain.errors import (
    RenderStopped,
    WorkerBusy,
    WorkerStopping,
    failure_of,
)
from services.inference_worker.domain.version import Version, WorkerState
from services.inference_worker.ports import (
    Engine,
    EngineLoader,
    Lane,
    ObjectStore,
    PictureEncoder,
    VideoEncoder,
)
from services.inference_worker.usecases.attempt import Attempt
from services.inference_worker.usecases.keeper import Keeper
from services.inference_worker.usecases.patience import ended_within
from services.inference_worker.usecases.presence import Presence
from services.inference_worker.usecases.start import Start
from services.inference_worker.usecases.studio import Studio
from services.inference_worker.usecases.traces_of_errors import where

log = structlog.get_logger()

FINISHED_ATTEMPTS_KEPT = 32
EARLY_CANCELS_KEPT = 32

_SHARE_FOR_A_CHECKPOINT = 0.75
"""How much of its grace a worker that ends leaves its attempt to come to a checkpoint, or to its end."""


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
        device: Lane,
        encoding: Lane,
        clock: Clock,
        checkpoint_seconds: float,
        storage_patience_seconds: float,
    ) -> None:
        """Work is done on the lanes, which belong to the caller.

        Two checkpoints of an attempt are at least `checkpoint_seconds` apart; a store that refuses a finished video is
        asked again for `storage_patience_seconds`.
        """
        self._worker_id = worker_id
        self._loader = loader
        self._pictures = pictures
        self._objects = objects
        self._device = device
        self._clock = clock
        self._checkpoint_seconds = checkpoint_seconds
        self._storage_patience_seconds = storage_patience_seconds
        self._studio = Studio(encoder=encoder, pictures=pictures, objects=objects, device=device, encoding=encoding)
        self._presence = Presence(clock)
        self._start: Start | None = None
        self._attempts: OrderedDict[AttemptId, Attempt] = OrderedDict()
        self._canceled_early: deque[AttemptId] = deque(maxlen=EARLY_CANCELS_KEPT)
        """Attempts that were canceled and never begun: the call that begins one may come later than the other."""
        self._running: Attempt | None = None
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def load(self, version: Version) -> AsyncGenerator[StartEvent, None]:
        """Load a version, or follow its load, or learn that it is loaded. A failed load can be tried again.

        Raises WorkerBusy when another version is loaded or loading, WorkerStopping when the worker is to end.
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
        Raises WorkerBusy when another render runs, a higher epoch is known, or nothing is loaded; WorkerStopping when
        the worker is to end and the attempt has not begun.
        """
        with self._presence.attached():
            attempt = self._attempts.get(assignment.id) or self._begin(assignment)
            async with aclosing(attempt.log.follow(after_seq)) as events:
                async for event in events:
                    yield event

    async def cancel(self, attempt_id: AttemptId) -> None:
        """Stop an attempt within one step, or when it is to begin if it has not. Nothing happens when it is over."""
        self._presence.heard()
        if attempt := self._attempts.get(attempt_id):
            attempt.stop.give(Canceled())
        else:
            self._canceled_early.append(attempt_id)

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
        """Begin nothing new, and let what runs end within the grace.

        The attempt stops after its next step, with a checkpoint; one that has taken its last step may finish. When most
        of the grace is over without, it stops where it is.
        """
        self._stopping = True
        failure = failure_of(WorkerStopping(), "stopping")
        if self._running:
            self._running.stop.give_at_checkpoint(failure)
        if await ended_within(_SHARE_FOR_A_CHECKPOINT * grace_seconds, self._tasks, self._clock):
            return
        if self._running:
            self._running.stop.give(failure)
        await ended_within((1 - _SHARE_FOR_A_CHECKPOINT) * grace_seconds, self._tasks, self._clock)

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
            assignment,
            keeper=Keeper(
                assignment.folder,
                objects=self._objects,
                clock=self._clock,
                patience_seconds=self._storage_patience_seconds,
            ),
            pictures=self._pictures,
            checkpoint_seconds=self._checkpoint_seconds,
            clock=self._clock,
        )
        if attempt.id in self._canceled_early:
            attempt.stop.give(Canceled())
        self._running = attempt
        self._attempts[attempt.id] = attempt
        self._forget_oldest()
        self._spawn(self._run(attempt, engine))
        return attempt

    async def _run(self, attempt: Attempt, engine: Engine) -> None:
        facts = {"render_id": attempt.id.render_id, "epoch": attempt.id.epoch}
        log.info("attempt began", **facts)
        with attempt.alive(), attempt.spans.inside():
            result: AttemptResult
            try:
                result = await self._studio.make_video(attempt, engine)
            except RenderStopped:
                result = await attempt.stopped()
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

    def _forget_oldest(self) -> None:
        finished = [attempt_id for attempt_id, attempt in self._attempts.items() if attempt.log.is_closed]
        for attempt_id in finished[:-FINISHED_ATTEMPTS_KEPT]:
            del self._attempts[attempt_id]

    def _refuse_when_stopping(self) -> None:
        if self._stopping:
            raise WorkerStopping

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
