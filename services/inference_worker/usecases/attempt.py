"""One attempt under way: its events, its progress, its spans, what it leaves behind, and the signal that stops it."""

from __future__ import annotations  # numpy is only a word here: the worker serves before it imports it

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from services.chassis.clock import Clock
from services.inference_worker.domain.attempt import (
    Assignment,
    AttemptEvent,
    AttemptResult,
    Canceled,
    Failure,
    Paused,
    Phase,
    Reading,
)
from services.inference_worker.domain.errors import RenderStopped, StorageFailed, failure_of
from services.inference_worker.domain.progress import Meter, Pace
from services.inference_worker.ports import Moment, PictureEncoder, Plan
from services.inference_worker.usecases.event_log import EventLog
from services.inference_worker.usecases.keeper import CHECKPOINT_KEY, PREVIEW_KEY, Keeper
from services.inference_worker.usecases.spans import AttemptSpans
from services.inference_worker.usecases.stop_signal import StopSignal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = structlog.get_logger()

PREVIEW_SECONDS = 2.0
"""The least time between two previews."""


@dataclass(frozen=True)
class _Parting:
    """How an attempt ends after a step, and the files of that step, as (field of Kept, key, content)."""

    result: AttemptResult
    files: tuple[tuple[str, str, bytes], ...]


class Attempt:
    """An attempt and what followers see of it; the Listener of its engine.

    One thread at a time reports; events are kept, and files stored, on the event loop.
    """

    def __init__(
        self,
        assignment: Assignment,
        *,
        keeper: Keeper,
        pictures: PictureEncoder,
        checkpoint_seconds: float,
        clock: Clock,
    ) -> None:
        self.assignment = assignment
        self.id = assignment.id
        self.spans = AttemptSpans(assignment.id, assignment.trace_context)
        self.stop = StopSignal()
        self.log: EventLog[AttemptEvent] = EventLog(clock)
        self.keeper = keeper
        self.newest_checkpoint: bytes | None = None
        """What to go on from after a failure that this worker can mend."""
        self._pictures = pictures
        self._checkpoint_seconds = checkpoint_seconds
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._parting: _Parting | None = None
        self._reading = Reading(Phase.ENCODING, 0, 0, 0.0, None, None)
        self._phase: Phase | None = None
        self._meter: Meter | None = None
        self._on_frames: Callable[[NDArray[np.uint8]], None] | None = None
        self._shown_frames = self._repeated_frames = 0
        self._preview_at: float | None = None
        self._checkpoint_at = clock.monotonic() + checkpoint_seconds

    @property
    def doing(self) -> str:
        """What it is at, in words."""
        return self._phase or Phase.ENCODING

    def alive(self) -> AbstractContextManager[None]:
        """During the block its followers see signs of life, however long a step takes."""
        return self.log.kept_alive(self._again)

    def begin(self, plan: Plan, pace: Pace, on_frames: Callable[[NDArray[np.uint8]], None]) -> None:
        """From now on there is progress to read, and frames are passed to `on_frames` on the event loop."""
        self._meter = Meter(_whole_guess(plan), pace.multiples, self._clock.monotonic)
        self._on_frames = on_frames

    def check(self) -> None:
        """Raise RenderStopped when it was told to stop at once, or has come to where it parts."""
        self.stop.check()
        if self._parting is not None:
            raise RenderStopped

    def report(self, moment: Moment) -> None:
        """Take note of progress. May be called from the device's thread."""
        meter = self._begun()
        if moment.phase is not self._phase:
            self._enter(moment.phase)
        if moment.phase is Phase.DENOISING:
            meter.steps(moment.done_steps, moment.total_steps, moment.share)
            self.spans.took_steps(moment.done_steps, moment.total_steps)
        else:
            meter.advance(moment.share)
        reading = meter.read()
        if result := self._result_after(moment):
            self._part(moment, result)
        else:
            self._keep_preview(moment)
            self._keep_checkpoint(moment)
        self._loop.call_soon_threadsafe(self._tell, reading, moment.message or moment.phase)

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
        self.keeper.note_pieces(pieces, seconds)
        self._tell(self._reading, f"the first {seconds:.1f} s can be played")

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

    async def stopped(self) -> AttemptResult:
        """How it ends once RenderStopped was raised. What it is to leave behind is stored first."""
        with suppress(RenderStopped):
            self.stop.check()
            return await self.stop.unless_given(self._leave_behind())
        if self.stop.result is None:
            raise RuntimeError("nobody told the attempt to stop")
        return self.stop.result

    async def end(self, result: AttemptResult) -> None:
        """Add the last event, after all that were reported before."""
        self.spans.end(failed=isinstance(result, Failure))
        await self._all_reported()
        await self.keeper.settle()
        self._tell(self._meter.read() if self._meter else self._reading, _message(result), result)

    def _result_after(self, moment: Moment) -> AttemptResult | None:
        """How the attempt ends after this step, if it does."""
        if moment.checkpoint is None or self.stop.result is not None:
            return None
        if self.assignment.pauses_after(moment.done_steps, moment.total_steps):
            return Paused()
        return self.stop.result_at_checkpoint

    def _part(self, moment: Moment, result: AttemptResult) -> None:
        files: list[tuple[str, str, bytes]] = []
        if moment.checkpoint:
            checkpoint = moment.checkpoint()
            files.append((CHECKPOINT_KEY, self._checkpoint_key, checkpoint))
            self.spans.note("checkpoint", step=moment.done_steps, size_bytes=len(checkpoint))
        if moment.preview and isinstance(result, Paused):
            files.append((PREVIEW_KEY, self._preview_key(moment), self._pictures.encode(moment.preview())))
        self._parting = _Parting(result, tuple(files))

    async def _leave_behind(self) -> AttemptResult:
        if self._parting is None:
            raise RuntimeError("the attempt was not told to stop")
        await self._all_reported()
        try:
            for field, key, content in self._parting.files:
                await self.keeper.leave_behind(field, key, content)
        except StorageFailed as error:
            return failure_of(error, self.doing)
        return self._parting.result

    async def _all_reported(self) -> None:
        """Return when the event loop has done all that it was given from the device's thread."""
        reported: asyncio.Future[None] = self._loop.create_future()
        self._loop.call_soon_threadsafe(reported.set_result, None)
        await reported

    def _tell(self, reading: Reading, message: str, result: AttemptResult | None = None) -> None:
        self._reading = reading
        self.log.append(self._event(reading, message, result), last=result is not None)

    def _event(self, reading: Reading, message: str, result: AttemptResult | None = None) -> AttemptEvent:
        return AttemptEvent(len(self.log) + 1, reading, message, self.keeper.kept, result)

    def _again(self) -> AttemptEvent:
        """What was told last, with the time that is left by now."""
        now = self._meter.read() if self._meter else self._reading
        reading = replace(self._reading, eta_seconds_p50=now.eta_seconds_p50, eta_seconds_p90=now.eta_seconds_p90)
        waits = "waiting for the object store" if self.keeper.is_insisting else f"still {reading.phase}"
        return self._event(reading, waits)

    def _keep_preview(self, moment: Moment) -> None:
        now = self._clock.monotonic()
        if moment.preview is None or (self._preview_at is not None and now < self._preview_at):
            return
        self._preview_at = now + PREVIEW_SECONDS
        picture = self._pictures.encode(moment.preview())
        self._keep(PREVIEW_KEY, self._preview_key(moment), picture)

    def _keep_checkpoint(self, moment: Moment) -> None:
        if moment.checkpoint is None or self._clock.monotonic() < self._checkpoint_at:
            return
        self.newest_checkpoint = moment.checkpoint()
        self._checkpoint_at = self._clock.monotonic() + self._checkpoint_seconds
        self._keep(CHECKPOINT_KEY, self._checkpoint_key, self.newest_checkpoint)
        self.spans.note("checkpoint", step=moment.done_steps, size_bytes=len(self.newest_checkpoint))

    def _keep(self, field: str, key: str, content: bytes) -> None:
        self._loop.call_soon_threadsafe(self.keeper.keep_in_passing, field, key, content)

    def _preview_key(self, moment: Moment) -> str:
        return f"{self.assignment.folder}/previews/{moment.done_steps:05}.webp"

    @property
    def _checkpoint_key(self) -> str:
        """Each takes the place of the one before."""
        return f"{self.assignment.folder}/checkpoint.safetensors"

    def _begun(self) -> Meter:
        if self._meter is None:
            raise RuntimeError("the attempt has not begun")
        return self._meter

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._begun().enter(phase)
        self.spans.enter(phase)


def _message(result: AttemptResult) -> str:
    match result:
        case Failure():
            return result.message
        case Canceled():
            return "canceled"
        case Paused():
            return "paused"
    return "done"


def _whole_guess(plan: Plan) -> Mapping[Phase, float]:
    """The engine's guess of seconds, and one of what follows it: finishing the file and storing it."""
    pixels = plan.width * plan.height * plan.num_frames
    return {**plan.guess_seconds, Phase.MUXING: 0.05 + 1e-8 * pixels, Phase.STORING: 0.05}
