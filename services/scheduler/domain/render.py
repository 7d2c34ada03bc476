"""Renders: their states, their moves, and what each moment of one looks like."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from services.chassis.errors import ForgeError
from services.scheduler.domain.fleet import Pin, Target

MAX_LOSSES = 3
"""How many workers a render may lose before it is given up."""


class RenderStatus(StrEnum):
    """Where a render is in its life. The words are the wire's."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"


_MOVES: Mapping[RenderStatus, frozenset[RenderStatus]] = {
    RenderStatus.QUEUED: frozenset(
        {RenderStatus.RUNNING, RenderStatus.CANCELED, RenderStatus.EXPIRED, RenderStatus.FAILED}
    ),
    RenderStatus.RUNNING: frozenset(
        {RenderStatus.SUCCEEDED, RenderStatus.FAILED, RenderStatus.CANCELING, RenderStatus.QUEUED}
    ),
    # A render that finished before its cancelation took effect has succeeded: its video exists.
    RenderStatus.CANCELING: frozenset({RenderStatus.CANCELED, RenderStatus.SUCCEEDED, RenderStatus.FAILED}),
    RenderStatus.SUCCEEDED: frozenset(),
    RenderStatus.FAILED: frozenset(),
    RenderStatus.CANCELED: frozenset(),
    RenderStatus.EXPIRED: frozenset(),
}

FINAL = frozenset(status for status, moves in _MOVES.items() if not moves)
ACTIVE = frozenset({RenderStatus.RUNNING, RenderStatus.CANCELING})


class IllegalMove(ForgeError):
    """A render was told to go where its state does not lead."""

    def __init__(self, source: RenderStatus, to: RenderStatus) -> None:
        super().__init__(f"a render cannot go from {source} to {to}")


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


@dataclass(frozen=True)
class Failure:
    """Why a render failed. `retry` when the same request may succeed later."""

    reason: str
    message: str
    retry: bool = False


@dataclass(frozen=True)
class Render:
    """One request for a video.

    `epoch` is the fencing number: it grows by one with every lease, and what an attempt writes counts only while the
    render still has the attempt's epoch. `worker_seq` is the newest event of the attempt that is in the log. `pieces`
    of the attempt's video can be read; `preview_seq` is the event that first told of the newest preview.
    """

    id: str
    account: str
    slug: str
    model_version: str
    created_at: datetime
    pin: Pin = Pin()
    seed: int | None = None
    idempotency_key: str | None = None
    request_sha256: str = ""
    expires_at: datetime | None = None
    trace_context: Mapping[str, str] = field(default_factory=dict)
    trace_id: str = ""
    warnings: tuple[str, ...] = ()
    fail_when_out_of_memory: bool = False

    status: RenderStatus = RenderStatus.QUEUED
    phase: Phase = Phase.QUEUED
    progress: Progress = Progress()
    last_seq: int = 0

    epoch: int = 0
    attempt: int = 0
    losses: int = 0
    lease_until: datetime | None = None
    runtime_id: str | None = None
    target: Target | None = None
    was_cold_start: bool | None = None
    worker_seq: int = 0
    estimated_cost_usd: float | None = None
    pieces: int = 0
    checkpoint_key: str = ""
    preview_key: str = ""
    preview_seq: int = 0

    started_at: datetime | None = None
    ended_at: datetime | None = None
    timing: Timing = Timing()
    output: Output | None = None
    mode: str = ""
    peak_memory: Mapping[str, PeakMemory] = field(default_factory=dict)
    error: Failure | None = None

    @property
    def folder(self) -> str:
        """Where the present attempt puts what it makes."""
        return f"renders/{self.id}/{self.epoch}"

    @property
    def is_final(self) -> bool:
        """Whether nothing can change any more."""
        return self.status in FINAL

    def moved(self, to: RenderStatus, **changes: Any) -> "Render":
        """The render after a move. Raises IllegalMove where the table has none."""
        if to not in _MOVES[self.status]:
            raise IllegalMove(self.status, to)
        return replace(self, status=to, **changes)

    def leased(
        self,
        *,
        runtime_id: str,
        target: Target,
        cold: bool,
        now: datetime,
        lease: timedelta,
        estimated_cost_usd: float | None,
    ) -> "Render":
        """The render at the start of a new attempt on a runtime."""
        return self.moved(
            RenderStatus.RUNNING,
            phase=Phase.STARTING if cold else Phase.ENCODING,
            progress=Progress(),
            epoch=self.epoch + 1,
            attempt=self.attempt + 1,
            lease_until=now + lease,
            runtime_id=runtime_id,
            target=target,
            was_cold_start=cold,
            worker_seq=0,
            pieces=0,
            estimated_cost_usd=estimated_cost_usd,
            started_at=self.started_at or now,
            timing=Timing(queued_ms=milliseconds(self.created_at, now)),
        )

    def released(self) -> "Render":
        """The render back in the queue, because its runtime was taken away on purpose."""
        return self.moved(
            RenderStatus.QUEUED, phase=Phase.QUEUED, progress=Progress(), runtime_id=None, lease_until=None
        )

    def lost(self, now: datetime, cause: "Failure | None" = None) -> "Render":
        """The render after its worker went away: back in the queue, or failed when that happened too often.

        `cause` is what it then failed for; None means that nobody knows more than that workers were lost.
        """
        if self.status is RenderStatus.CANCELING:
            return self.ended(RenderStatus.CANCELED, now)
        if self.losses + 1 < MAX_LOSSES:
            return replace(self.released(), losses=self.losses + 1)
        failure = cause or Failure("WORKER_LOST", f"{MAX_LOSSES} workers were lost while rendering it", retry=True)
        return replace(self.ended(RenderStatus.FAILED, now, error=failure), losses=self.losses + 1)

    def ended(self, to: RenderStatus, now: datetime, **changes: Any) -> "Render":
        """The render at its end."""
        timing = replace(changes.pop("timing", self.timing), total_ms=milliseconds(self.created_at, now))
        return self.moved(to, ended_at=now, timing=timing, lease_until=None, runtime_id=None, **changes)


@dataclass(frozen=True)
class RenderEvent:
    """A snapshot of a render at one moment; `seq` counts 1, 2, 3, … without gaps."""

    seq: int
    at: datetime
    status: RenderStatus
    phase: Phase
    progress: Progress
    target: Target | None
    attempt: int
    message: str
    error: Failure | None = None
    preview_key: str = ""
    preview_seq: int = 0
    keep_alive: bool = False

    @property
    def is_last(self) -> bool:
        """Whether the log ends here."""
        return self.status in FINAL


def snapshot(render: Render, at: datetime, message: str) -> RenderEvent:
    """The event that says how `render` stands; its number is the render's last_seq."""
    return RenderEvent(
        seq=render.last_seq,
        at=at,
        status=render.status,
        phase=render.phase,
        progress=render.progress,
        target=render.target,
        attempt=render.attempt,
        message=message,
        error=render.error,
        preview_key=render.preview_key,
        preview_seq=render.preview_seq,
    )


def milliseconds(start: datetime, end: datetime) -> int:
    """Whole milliseconds between two moments; never negative, whatever the clock did."""
    return max(0, round((end - start) / timedelta(milliseconds=1)))
