"""Renders: their states, their moves, and what each moment of one looks like."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from services.chassis.errors import ForgeError
from services.scheduler.domain.facts import (
    AttemptRecord,
    Failure,
    Outcome,
    Output,
    PeakMemory,
    Phase,
    Prefer,
    Priority,
    Progress,
    Timing,
    milliseconds,
)
from services.scheduler.domain.fleet import Pin, Target

MAX_LOSSES = 3
"""How many workers a render may lose before it is given up."""


class RenderStatus(StrEnum):
    """Where a render is in its life. The words are the wire's."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"


_MOVES: Mapping[RenderStatus, frozenset[RenderStatus]] = {
    RenderStatus.QUEUED: frozenset({RenderStatus.RUNNING, RenderStatus.CANCELED, RenderStatus.EXPIRED}),
    RenderStatus.RUNNING: frozenset(
        {
            RenderStatus.SUCCEEDED,
            RenderStatus.FAILED,
            RenderStatus.CANCELING,
            RenderStatus.PAUSED,
            RenderStatus.QUEUED,
        }
    ),
    RenderStatus.PAUSED: frozenset({RenderStatus.QUEUED, RenderStatus.CANCELED, RenderStatus.EXPIRED}),
    # A render that finished before its cancelation took effect has succeeded: its video exists.
    RenderStatus.CANCELING: frozenset({RenderStatus.CANCELED, RenderStatus.SUCCEEDED, RenderStatus.FAILED}),
    RenderStatus.SUCCEEDED: frozenset(),
    RenderStatus.FAILED: frozenset(),
    RenderStatus.CANCELED: frozenset(),
    RenderStatus.EXPIRED: frozenset(),
}

FINAL = frozenset(status for status, moves in _MOVES.items() if not moves)
ACTIVE = frozenset({RenderStatus.RUNNING, RenderStatus.CANCELING})
WAITING = frozenset({RenderStatus.QUEUED, RenderStatus.PAUSED})
RETRYABLE = FINAL - {RenderStatus.SUCCEEDED}


class IllegalMove(ForgeError):
    """A render was told to go where its state does not lead."""

    def __init__(self, source: RenderStatus, to: RenderStatus) -> None:
        super().__init__(f"a render cannot go from {source} to {to}")


@dataclass(frozen=True)
class Lease:
    """What an attempt begins with: a runtime, and the reason why it is this one."""

    runtime_id: str
    target: Target
    is_cold: bool
    until: datetime
    why: str
    estimated_cost_usd: float | None = None
    usd_per_hour: float | None = None
    estimated_gpu_seconds: float | None = None
    estimated_gpu_seconds_p90: float | None = None
    is_first_run: bool = False


@dataclass(frozen=True)
class Render:
    """One request for a video.

    `epoch` is the fencing number: it grows by one with every lease, and what an attempt writes counts only while the
    render still has the attempt's epoch. `worker_seq` is the newest event of the attempt that is in the log. `pieces`
    of the attempt's video can be read; `preview_seq` is the event that first told of the newest preview. `stopping` is
    why a render is being ended although nobody canceled it. `affordable` are the targets that were expected to keep its
    limit of cost when it was accepted; none means that any is. `shape` are the inputs that its work depends on.
    `probe_id` is the probe it is a run of; empty for a render that somebody asked for. One that was deleted is kept for
    what it took, and shown to nobody.
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
    deadline: datetime | None = None
    priority: Priority = Priority.NORMAL
    prefer: Prefer = Prefer.CHEAPEST
    max_cost_usd: float | None = None
    finish_within_seconds: float | None = None
    affordable: tuple[Target, ...] = ()
    pause_after_step: int = 0
    retry_of: str = ""
    branch_of: str = ""
    api_key_id: str = ""
    probe_id: str = ""
    shape: Mapping[str, Any] = field(default_factory=dict)
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
    attempts: tuple[AttemptRecord, ...] = ()
    lease_until: datetime | None = None
    runtime_id: str | None = None
    target: Target | None = None
    was_cold_start: bool | None = None
    worker_seq: int = 0
    estimated_cost_usd: float | None = None
    estimated_gpu_seconds: float | None = None
    estimated_gpu_seconds_p90: float | None = None
    explanation: str = ""
    pieces: int = 0
    checkpoint_key: str = ""
    preview_key: str = ""
    preview_seq: int = 0
    stopping: Failure | None = None

    started_at: datetime | None = None
    continued_at: datetime | None = None
    ended_at: datetime | None = None
    timing: Timing = Timing()
    output: Output | None = None
    mode: str = ""
    peak_memory: Mapping[str, PeakMemory] = field(default_factory=dict)
    error: Failure | None = None
    deleted_at: datetime | None = None

    @property
    def folder(self) -> str:
        """Where the present attempt puts what it makes."""
        return self._folder(self.epoch)

    @property
    def whole_folder(self) -> str:
        """Where all its attempts put what they make."""
        return f"renders/{self.id}"

    @property
    def is_final(self) -> bool:
        """Whether nothing can change any more."""
        return self.status in FINAL

    @property
    def is_settled(self) -> bool:
        """Whether nothing changes unless somebody asks for it."""
        return self.is_final or self.status is RenderStatus.PAUSED

    @property
    def was_paused(self) -> bool:
        """Whether one of its attempts ended with a pause."""
        return any(record.outcome is Outcome.PAUSED for record in self.attempts)

    @property
    def waits_since(self) -> datetime:
        """When it was accepted, left its last attempt or was continued: since then it waits, if it does."""
        left_at = self.attempts[-1].ended_at if self.attempts else None
        return max(moment for moment in (self.created_at, left_at, self.continued_at) if moment is not None)

    @property
    def give_up_at(self) -> datetime | None:
        """When it is given up if it still waits; None for never."""
        return min((moment for moment in (self.expires_at, self.deadline) if moment is not None), default=None)

    @property
    def gpu_seconds(self) -> float:
        """Device time it has held, over all attempts."""
        return sum(record.gpu_seconds for record in self.attempts)

    @property
    def choose_by(self) -> datetime | None:
        """When a target has to be done with it to be chosen; None where time decides nothing, or alone.

        A wish counts for more than what is preferred; a deadline only keeps the cheapest from being too slow.
        """
        wished = self.finish_within_seconds
        if wished is not None:
            wanted = self.created_at + timedelta(seconds=wished)
            return wanted if self.deadline is None else min(wanted, self.deadline)
        return self.deadline if self.prefer is Prefer.CHEAPEST else None

    @property
    def microdollars(self) -> int | None:
        """What its attempts have cost so far; None where no price was known for any."""
        known = [cost for record in self.attempts if (cost := record.microdollars) is not None]
        return sum(known) if known else None

    @property
    def usd(self) -> float:
        """What its device time costs so far, as far as prices are known."""
        return sum(record.usd or 0.0 for record in self.attempts)

    def spends(self, checkpoint_key: str) -> bool:
        """Whether nobody goes on from a checkpoint any more.

        Another has taken its place, or nothing is left to do; it is this render's own, not that of one it was branched
        from or tried again for; and its attempt did not pause, so that no branch begins with it.
        """
        own = [self._folder(record.epoch) for record in self.attempts if record.outcome is not Outcome.PAUSED]
        return checkpoint_key != self.checkpoint_key and checkpoint_key.startswith(tuple(f"{name}/" for name in own))

    def moved(self, to: RenderStatus, **changes: Any) -> "Render":
        """The render after a move. Raises IllegalMove where the table has none."""
        if to not in _MOVES[self.status]:
            raise IllegalMove(self.status, to)
        return replace(self, status=to, **changes)

    def leased(self, lease: Lease, now: datetime) -> "Render":
        """The render at the start of a new attempt on a runtime."""
        epoch, attempt = self.epoch + 1, self.attempt + 1
        record = AttemptRecord(
            attempt=attempt,
            epoch=epoch,
            runtime_id=lease.runtime_id,
            target=lease.target,
            began_at=now,
            accrued_at=now,
            usd_per_hour=lease.usd_per_hour,
            is_first_run=lease.is_first_run,
        )
        return self.moved(
            RenderStatus.RUNNING,
            phase=Phase.STARTING if lease.is_cold else Phase.ENCODING,
            progress=Progress(),
            epoch=epoch,
            attempt=attempt,
            attempts=(*self.attempts, record),
            lease_until=lease.until,
            runtime_id=lease.runtime_id,
            target=lease.target,
            was_cold_start=lease.is_cold,
            worker_seq=0,
            pieces=0,
            estimated_cost_usd=lease.estimated_cost_usd,
            estimated_gpu_seconds=lease.estimated_gpu_seconds,
            estimated_gpu_seconds_p90=lease.estimated_gpu_seconds_p90,
            explanation=lease.why,
            expires_at=None,  # it has started; only a deadline ends it now
            started_at=self.started_at or now,
            timing=Timing(queued_ms=milliseconds(self.created_at, now)),
        )

    def accrued(self, seconds: float, now: datetime) -> "Render":
        """The render after its running attempt has held its device for so much longer."""
        *earlier, last = self.attempts
        return replace(self, attempts=(*earlier, last.accrued(seconds, self.phase, now)))

    def released(self, now: datetime, why: str) -> "Render":
        """The render back in the queue, because it was taken off its runtime on purpose."""
        if self.status is RenderStatus.CANCELING:
            return self.stopped(now)
        return self._left(Outcome.RELEASED, now, why)._queued_again(RenderStatus.RUNNING)

    def unplaced(self, now: datetime, why: str) -> "Render":
        """The render back in the queue, because there was no machine for its runtime: waiting for one costs nothing."""
        *earlier, last = self.attempts
        return replace(self, attempts=(*earlier, last.unheld())).released(now, why)

    def lost(self, now: datetime, why: str, cause: Failure | None = None) -> "Render":
        """The render after its worker went away: back in the queue, or failed when that happened too often.

        `cause` is what it then failed for; None means that nobody knows more than that workers were lost.
        """
        if self.status is RenderStatus.CANCELING:
            return self.stopped(now)
        reason = cause.reason if cause else "WORKER_LOST"
        lost = replace(self._left(Outcome.LOST, now, why, reason), losses=self.losses + 1)
        if lost.losses < MAX_LOSSES:
            return lost._queued_again(RenderStatus.RUNNING)
        failure = cause or Failure("WORKER_LOST", f"{MAX_LOSSES} workers were lost while rendering it", retry=True)
        return lost.ended(RenderStatus.FAILED, now, error=failure)

    def paused(self, now: datetime, expires_at: datetime | None) -> "Render":
        """The render at rest after the step it was to pause after."""
        left = self._left(Outcome.PAUSED, now, "paused as asked")
        return left.moved(
            RenderStatus.PAUSED,
            progress=self.progress.at_rest,
            runtime_id=None,
            lease_until=None,
            expires_at=expires_at,
            pause_after_step=0,
            explanation="waits to be continued, branched or canceled",
        )

    def continued(self, pause_after_step: int, now: datetime) -> "Render":
        """The paused render back in the queue."""
        queued = self._queued_again(RenderStatus.PAUSED)
        return replace(queued, expires_at=None, continued_at=now, pause_after_step=pause_after_step)

    def canceled(self, now: datetime) -> "Render | None":
        """The render that is to end: at once while it waits, else once its attempt has stopped. None if it ended."""
        if self.status in WAITING:
            return self.ended(RenderStatus.CANCELED, now, phase=Phase.DONE)
        return self.moved(RenderStatus.CANCELING) if self.status is RenderStatus.RUNNING else None

    def stopped(self, now: datetime) -> "Render":
        """The render that was being canceled, at its end."""
        if self.stopping is not None:
            return self.ended(RenderStatus.FAILED, now, error=self.stopping)
        return self.ended(RenderStatus.CANCELED, now)

    def ended(self, to: RenderStatus, now: datetime, **changes: Any) -> "Render":
        """The render at its end."""
        timing = replace(changes.pop("timing", self.timing), total_ms=milliseconds(self.created_at, now))
        changes.setdefault("progress", self.progress.at_rest)
        left = self
        if self.attempts and self.attempts[-1].outcome is Outcome.RUNNING:
            error: Failure | None = changes.get("error")
            message, reason = (error.message, error.reason) if error else ("", "")
            left = self._left(Outcome(to.value), now, message, reason)
        return left.moved(to, ended_at=now, timing=timing, lease_until=None, runtime_id=None, explanation="", **changes)

    def deleted(self, now: datetime) -> "Render | None":
        """The ended render once nobody is to see it; its idempotency key is free again. None if that is so already."""
        return None if self.deleted_at else replace(self, deleted_at=now, idempotency_key=None)

    def _folder(self, epoch: int) -> str:
        return f"{self.whole_folder}/{epoch}"

    def _left(self, outcome: Outcome, now: datetime, message: str, reason: str = "") -> "Render":
        *earlier, last = self.attempts
        return replace(self, attempts=(*earlier, last.ended(outcome, now, message, reason)))

    def _queued_again(self, source: RenderStatus) -> "Render":
        if self.status is not source:
            raise IllegalMove(self.status, RenderStatus.QUEUED)
        return self.moved(
            RenderStatus.QUEUED,
            phase=Phase.QUEUED,
            progress=Progress(),
            runtime_id=None,
            lease_until=None,
            explanation="",
        )


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


def expiry(now: datetime, ttl: timedelta | None) -> datetime | None:
    """When something that may wait `ttl` from now is given up."""
    return None if ttl is None else now + ttl
