"""What a scripted worker says of one attempt, from its first step to its last word."""

import asyncio
from dataclasses import dataclass, field, replace

from services.scheduler.domain.facts import Failure, Output, PeakMemory, Phase
from services.scheduler.ports import Assignment, AttemptMoment, Made

STOPPING = Failure("WORKER_STOPPING", "this worker is shutting down", retry=True)

_VIDEO_FRAMES, _VIDEO_FPS = 25, 7.0
_VIDEO_SECONDS = _VIDEO_FRAMES / _VIDEO_FPS


@dataclass
class ScriptedAttempt:
    """One attempt at a render: how far it is, and what it has said."""

    assignment: Assignment
    total_steps: int
    done_steps: int
    step_seconds: float
    makes_pieces: bool
    moments: list[AttemptMoment] = field(default_factory=list)
    is_canceled: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether the last word was said."""
        return bool(self.moments) and is_last(self.moments[-1])

    @property
    def takes_a_step(self) -> bool:
        """Whether a step comes next."""
        return bool(self.moments) and self.done_steps < self.total_steps

    def next(self, failure: Failure | None) -> AttemptMoment:
        """What it says next: where it begins, then a step at a time, then its end, which `failure` may be."""
        if self.is_canceled:
            return self.canceled()
        if not self.moments:
            return self.now()
        if self.done_steps == self.total_steps:
            return replace(self.now(), failure=failure) if failure else self._done()
        self.done_steps += 1
        pauses = 0 < self.assignment.pause_after_step <= self.done_steps < self.total_steps
        return replace(self.now(), paused=pauses)

    def canceled(self) -> AttemptMoment:
        """Its last word when it was asked to stop."""
        return replace(self.now(), message="canceled", canceled=True)

    def stopping(self) -> AttemptMoment:
        """Its last word when its worker was asked to end: it stops after one more step."""
        self.done_steps += self.takes_a_step
        return replace(self.now(), message=STOPPING.message, failure=STOPPING)

    def now(self) -> AttemptMoment:
        """Where it stands."""
        done, total, key = self.done_steps, self.total_steps, self.assignment.output_key
        eta_seconds = (total - done) * self.step_seconds or None
        return AttemptMoment(
            seq=len(self.moments) + 1,
            phase=Phase.DENOISING,
            done_steps=done,
            total_steps=total,
            fraction=done / (total + 1),
            eta_seconds_p50=eta_seconds,
            eta_seconds_p90=eta_seconds and 1.5 * eta_seconds,
            message=f"step {done} of {total}",
            pieces=done if self.makes_pieces else 0,
            playable_seconds=done / total * _VIDEO_SECONDS if self.makes_pieces else 0.0,
            preview_key=f"{key}.{done}.webp" if done else "",
            checkpoint_key=f"{key}.safetensors" if done else "",
        )

    def _done(self) -> AttemptMoment:
        key = self.assignment.output_key
        made = Made(
            output=Output(key, "video/mp4", 5, "ab" * 32, 64, 64, _VIDEO_FRAMES, _VIDEO_FPS),
            phase_ms={"encoding": 10, "denoising": 20, "decoding": 30, "muxing": 4, "storing": 5},
            warnings=("the aspect ratio changed",),
            mode="scripted",
            peak_memory={"denoising": PeakMemory(1000, 2000)},
            eta_error=0.25,
        )
        return replace(self.now(), phase=Phase.DONE, fraction=1.0, message="done", result=made)


def is_last(moment: AttemptMoment) -> bool:
    """Whether an attempt ends with it."""
    return bool(moment.result or moment.failure or moment.canceled or moment.paused)
