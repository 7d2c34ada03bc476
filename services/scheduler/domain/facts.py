"""What is known of a render at one moment: phase, progress, timing, output, failure, attempts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction

from services.scheduler.domain.fleet import Target


class Phase(StrEnum):
    """What is being done for a render."""

    QUEUED = "queued"
    STARTING = "starting"
    ENCODING = "encoding"
    DENOISING = "denoising"
    DECODING = "decoding"
    MUXING = "muxing"
    STORING = "storing"
    DONE = "done"


@dataclass(frozen=True)
class Progress:
    """How far an attempt is. `fraction` is of work, 0 to 1; steps are those the device has finished."""

    done_steps: int = 0
    total_steps: int = 0
    fraction: float = 0.0
    queue_position: int | None = None
    eta_seconds_p50: float | None = None
    eta_seconds_p90: float | None = None
    playable_seconds: float | None = None

    @property
    def at_rest(self) -> "Progress":
        """As far as it came, without what was still to come."""
        return replace(self, queue_position=None, eta_seconds_p50=None, eta_seconds_p90=None)


@dataclass(frozen=True)
class Timing:
    """What took how long; None for what did not happen, or not yet.

    `eta_error` is how far the ETAs were off, as a share of the attempt.
    """

    queued_ms: int | None = None
    cold_start_ms: int | None = None
    encode_ms: int | None = None
    denoise_ms: int | None = None
    decode_ms: int | None = None
    mux_ms: int | None = None
    store_ms: int | None = None
    model_ms: int | None = None
    total_ms: int | None = None
    first_frames_ms: int | None = None
    eta_error: float | None = None


@dataclass(frozen=True)
class PeakMemory:
    """The most memory in use at once, in bytes."""

    allocated_bytes: int
    reserved_bytes: int


@dataclass(frozen=True)
class Output:
    """A stored video. `key` is its place in the object store."""

    key: str
    media_type: str
    size_bytes: int
    sha256: str
    width: int
    height: int
    num_frames: int
    fps: float

    @property
    def thumbnail_key(self) -> str:
        """Where its worker puts the picture that stands for it, if it could keep one."""
        return f"{self.key.rpartition('/')[0]}/thumbnail.webp"


@dataclass(frozen=True)
class Failure:
    """Why a render failed. `retry` when the same request may succeed later."""

    reason: str
    message: str
    retry: bool = False


class Priority(StrEnum):
    """Which of an account's renders go first. The words are the wire's."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """0 for those that go first."""
        return (Priority.HIGH, Priority.NORMAL, Priority.LOW).index(self)


class Prefer(StrEnum):
    """What decides where there is a choice of targets. The words are the wire's."""

    CHEAPEST = "cheapest"
    FASTEST = "fastest"


class Outcome(StrEnum):
    """How an attempt stands. The words are the wire's."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    PAUSED = "paused"
    LOST = "lost"
    """Its worker went away; this counts against the render."""
    RELEASED = "released"
    """It was taken off its runtime on purpose; this does not."""

    @property
    def speaks_well(self) -> bool | None:
        """Whether it speaks for its worker that the attempt ended so; None when it ended before that showed."""
        if self in (Outcome.RUNNING, Outcome.CANCELED, Outcome.RELEASED):
            return None
        return self is not Outcome.LOST


@dataclass(frozen=True)
class AttemptRecord:
    """One try at a render, for its history, its bill and the ledger.

    `gpu_seconds` is device time up to `accrued_at`, the last sign of life: nobody pays for a worker that is gone. It is
    measured by clocks that only grow, so that a jump of the wall clock costs nobody anything. `phase_gpu_seconds` are
    its parts. `is_first_run` of its runtime, `startup_ms` when it had to wait for the start of it. `reason` is why it
    did not go well, and `software` what its results relied on, both known at its end.
    """

    attempt: int
    epoch: int
    runtime_id: str
    target: Target
    began_at: datetime
    accrued_at: datetime
    gpu_seconds: float = 0.0
    usd_per_hour: float | None = None
    ended_at: datetime | None = None
    outcome: Outcome = Outcome.RUNNING
    message: str = ""
    reason: str = ""
    resumed_steps: int = 0
    phase_gpu_seconds: Mapping[str, float] = field(default_factory=dict)
    is_first_run: bool = False
    startup_ms: int | None = None
    software: Mapping[str, str] = field(default_factory=dict)

    @property
    def usd(self) -> float | None:
        """What its device time costs; None where no price was known when it began."""
        return None if self.usd_per_hour is None else self.gpu_seconds * self.usd_per_hour / 3600

    @property
    def microdollars(self) -> int | None:
        """What its bill says: whole millionths of a dollar, of whole microseconds; None where no price was known."""
        if self.usd_per_hour is None:
            return None
        held_us = sum(round(seconds * 1e6) for seconds in self.phase_gpu_seconds.values())
        return round(Fraction(repr(self.usd_per_hour)) * held_us / 3600)

    def phase_began_at(self, phase: Phase) -> datetime:
        """About when its newest phase began: the last sign of life less the device time of the phase."""
        return self.accrued_at - timedelta(seconds=self.phase_gpu_seconds.get(phase.value, 0.0))

    def accrued(self, seconds: float, phase: Phase, now: datetime) -> "AttemptRecord":
        """The attempt after it has held its device for so much longer, in a phase."""
        by_phase = {**self.phase_gpu_seconds, phase.value: self.phase_gpu_seconds.get(phase.value, 0.0) + seconds}
        return replace(self, gpu_seconds=self.gpu_seconds + seconds, phase_gpu_seconds=by_phase, accrued_at=now)

    def unheld(self) -> "AttemptRecord":
        """The attempt when it turns out that there was no device for it to hold."""
        return replace(self, gpu_seconds=0.0, phase_gpu_seconds={})

    def ended(self, outcome: Outcome, now: datetime, message: str, reason: str = "") -> "AttemptRecord":
        """The attempt at its end."""
        return replace(self, outcome=outcome, ended_at=now, message=message, reason=reason)


def milliseconds(start: datetime, end: datetime) -> int:
    """Whole milliseconds between two moments; never negative, whatever the clock did."""
    return max(0, round((end - start) / timedelta(milliseconds=1)))
