"""One attempt under way: its events, its progress, its spans, what it keeps, and the signal that stops it."""

from __future__ import annotations  # numpy is only a word here: the worker serves before it imports it

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
from opentelemetry import trace

from services.chassis.clock import Clock
from services.chassis.errors import ForgeError
from services.inference_worker.domain.attempt import (
    AttemptEvent,
    AttemptId,
    Canceled,
    Failure,
    Kept,
    Output,
    Phase,
    Reading,
)
from services.inference_worker.domain.errors import RenderStopped
from services.inference_worker.domain.progress import Meter, Pace
from services.inference_worker.ports import Moment, ObjectStore, PictureEncoder, Plan
from services.inference_worker.usecases.event_log import EventLog

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = structlog.get_logger()
tracer = trace.get_tracer(__name__)

PREVIEW_SECONDS = 2.0
"""The least time between two previews."""
CHECKPOINT_SECONDS = 5.0
"""The least time between two checkpoints: how much work a lost worker takes with it."""


class StopSignal:
    """Tells an attempt to stop, from any thread; the first reason counts."""

    def __init__(self) -> None:
        self._given = threading.Event()
        self._result: Canceled | Failure = Canceled()

    def give(self, result: Canceled | Failure) -> None:
        """Stop; the attempt then ends with `result`."""
        if not self._given.is_set():
            self._result = result
            self._given.set()

    @property
    def result(self) -> Canceled | Failure:
        """How a stopped attempt ends."""
        return self._result

    def check(self) -> None:
        """Raise RenderStopped when told to stop."""
        if self._given.is_set():
            raise RenderStopped


class Attempt:
    """An attempt and what followers see of it; the Listener of its engine.

    One thread at a time reports; events are kept, and files stored, on the event loop.
    """

    def __init__(
        self, attempt_id: AttemptId, *, folder: str, objects: ObjectStore, pictures: PictureEncoder, clock: Clock
    ) -> None:
        self.id = attempt_id
        self.stop = StopSignal()
        self.log: EventLog[AttemptEvent] = EventLog()
        self.newest_checkpoint: bytes | None = None
        """What to go on from after a failure that this worker can mend."""
        self._folder = folder
        self._objects = objects
        self._pictures = pictures
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._unstored: dict[str, tuple[str, bytes]] = {}
        self._storing: asyncio.Task[None] | None = None
        self._kept = Kept()
        self._reading = Reading(Phase.ENCODING, 0, 0, 0.0, None, None)
        self._phase: Phase | None = None
        self._span: trace.Span | None = None
        self._meter: Meter | None = None
        self._on_frames: Callable[[NDArray[np.uint8]], None] | None = None
        self._shown_frames = self._repeated_frames = 0
        self._preview_at: float | None = None
        self._checkpoint_at = clock.monotonic() + CHECKPOINT_SECONDS

    @property
    def doing(self) -> str:
        """What it is at, in words."""
        return self._phase or Phase.ENCODING

    def begin(self, plan: Plan, pace: Pace, on_frames: Callable[[NDArray[np.uint8]], None]) -> None:
        """From now on there is progress to read, and frames are passed to `on_frames` on the event loop."""
        self._meter = Meter(_whole_guess(plan), pace.multiples, self._clock.monotonic)
        self._on_frames = on_frames

    def check(self) -> None:
        """Raise RenderStopped when told to stop."""
        self.stop.check()

    def report(self, moment: Moment) -> None:
        """Take note of progress. May be called from the device's thread."""
        meter = self._begun()
        if moment.phase is not self._phase:
            self._enter(moment.phase)
        if moment.phase is Phase.DENOISING:
            meter.steps(moment.done_steps, moment.total_steps, moment.share)
        else:
            meter.advance(moment.share)
        reading = meter.read()
        self._keep_preview(moment)
        self._keep_checkpoint(moment)
        self._loop.call_soon_threadsafe(self._append, reading, moment.message or moment.phase)

    def show(self, frames: NDArray[np.uint8]) -> None:
        """Take finished frames. May be called from the device's thread."""
        repeated = min(self._repeated_frames, len(frames))
        self._repeated_frames -= repeated
        self._shown_frames += len(frames) - repeated
        if self._on_frames is not None and repeated < len(frames):
            self._loop.call_soon_threadsafe(self._on_frames, frames[repeated:])

    def show_again(self) -> None:
        """The frames shown so far will come once more, the same as before; they are left out."""
        self._repeated_frames = self._shown_frames

    def can_play(self, pieces: int, seconds: float) -> None:
        """So many pieces of the video can be read by now."""
        self._kept = replace(self._kept, pieces=pieces, playable_seconds=seconds)
        self._append(self._reading, f"the first {seconds:.1f} s can be played")

    @property
    def phase_ms(self) -> Mapping[Phase, int]:
        """What each phase took so far."""
        return self._meter.phase_ms() if self._meter else {}

    @property
    def eta_error(self) -> float | None:
        """How far the ETAs were off by now, as a share of the attempt."""
        return self._begun().eta_error()

    def leave_last_phase(self, pace: Pace) -> None:
        """All the work is done: stop the clock of the last phase and remember how long everything took."""
        self._enter(Phase.DONE)
        pace.learn(self._begun().took())

    async def forget_checkpoint(self) -> None:
        """Nobody will go on from this attempt: remove what was kept for that."""
        if self._storing is not None:
            await self._storing
        if self._kept.checkpoint_key:
            with suppress(ForgeError):  # it is only in the way
                await self._objects.delete(self._kept.checkpoint_key)
            self._kept = replace(self._kept, checkpoint_key="")

    async def end(self, result: Output | Failure | Canceled) -> None:
        """Add the last event, after all that were reported before."""
        self._end_span()
        reported: asyncio.Future[None] = self._loop.create_future()
        self._loop.call_soon_threadsafe(reported.set_result, None)
        await reported
        if self._storing is not None:
            await self._storing
        message = (
            result.message if isinstance(result, Failure) else "canceled" if isinstance(result, Canceled) else "done"
        )
        self._append(self._meter.read() if self._meter else self._reading, message, result)

    def _append(self, reading: Reading, message: str, result: Output | Failure | Canceled | None = None) -> None:
        self._reading = reading
        event = AttemptEvent(len(self.log) + 1, reading, message, self._kept, result)
        self.log.append(event, last=result is not None)

    def _keep_preview(self, moment: Moment) -> None:
        now = self._clock.monotonic()
        if moment.preview is None or (self._preview_at is not None and now < self._preview_at):
            return
        self._preview_at = now + PREVIEW_SECONDS
        picture = self._pictures.encode(moment.preview())
        key = f"{self._folder}/previews/{moment.done_steps:05}.webp"
        self._loop.call_soon_threadsafe(self._store, key, picture, "preview_key")

    def _keep_checkpoint(self, moment: Moment) -> None:
        if moment.checkpoint is None or self._clock.monotonic() < self._checkpoint_at:
            return
        self.newest_checkpoint = moment.checkpoint()
        self._checkpoint_at = self._clock.monotonic() + CHECKPOINT_SECONDS
        key = f"{self._folder}/checkpoint.safetensors"  # each takes the place of the one before
        self._loop.call_soon_threadsafe(self._store, key, self.newest_checkpoint, "checkpoint_key")

    def _store(self, key: str, content: bytes, as_field: str) -> None:
        """Store something the video can do without; later events tell of it. What waits gives way to what is newer."""
        self._unstored[as_field] = (key, content)
        if self._storing is None or self._storing.done():
            self._storing = self._loop.create_task(self._store_what_waits())

    async def _store_what_waits(self) -> None:
        while self._unstored:
            as_field, (key, content) = self._unstored.popitem()
            try:
                await self._objects.put(key, content)
            except ForgeError as error:
                log.warning("not kept", render_id=self.id.render_id, key=key, reason=error.reason)
            else:
                self._kept = replace(self._kept, **{as_field: key})

    def _begun(self) -> Meter:
        if self._meter is None:
            raise RuntimeError("the attempt has not begun")
        return self._meter

    def _enter(self, phase: Phase) -> None:
        self._end_span()
        self._phase = phase
        self._begun().enter(phase)
        if phase is not Phase.DONE:
            self._span = tracer.start_span(phase)

    def _end_span(self) -> None:
        if self._span is not None:
            self._span.end()
            self._span = None


def _whole_guess(plan: Plan) -> Mapping[Phase, float]:
    """The engine's guess of seconds, and one of what follows it: finishing the file and storing it."""
    pixels = plan.width * plan.height * plan.num_frames
    return {**plan.guess_seconds, Phase.MUXING: 0.05 + 1e-8 * pixels, Phase.STORING: 0.05}
