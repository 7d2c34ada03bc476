"""What can go wrong between the scheduler and whoever asks it."""

from collections.abc import Sequence

from services.chassis.errors import ForgeError, Kind, Violation


class RenderNotFound(ForgeError):
    """No such render in the caller's account."""

    kind = Kind.NOT_FOUND
    reason = "RENDER_NOT_FOUND"

    def __init__(self, render_id: str) -> None:
        super().__init__(f"there is no render '{render_id[:100]}'", resource=("render", render_id[:100]))


class VideoNotReady(ForgeError):
    """The render has no video, now or any more."""

    kind = Kind.NOT_FOUND
    reason = "VIDEO_NOT_READY"

    def __init__(self, message: str, render_id: str) -> None:
        super().__init__(message, resource=("video", render_id))


class VideoCutOff(ForgeError):
    """A video that was streamed while it was made will not be completed."""

    kind = Kind.CONFLICT
    reason = "VIDEO_CUT_OFF"

    def __init__(self, render_id: str) -> None:
        super().__init__(f"the video of render '{render_id}' ends here: the render did not succeed, or began again")


class PreviewNotReady(ForgeError):
    """The render has no such preview."""

    kind = Kind.NOT_FOUND
    reason = "PREVIEW_NOT_READY"

    def __init__(self, render_id: str) -> None:
        super().__init__(f"render '{render_id}' has no such preview, now or any more", resource=("preview", render_id))


class RenderNotEnded(ForgeError):
    """Only a render that has ended can be deleted."""

    kind = Kind.CONFLICT
    reason = "RENDER_NOT_ENDED"

    def __init__(self, render_id: str) -> None:
        super().__init__(f"render '{render_id}' is being canceled: delete it once it has ended")


class UnknownTarget(ForgeError):
    """No such device or region is known here."""

    kind = Kind.INVALID
    reason = "UNKNOWN_TARGET"

    def __init__(self, field: str, value: str, known: Sequence[str]) -> None:
        listed = ", ".join(known)
        super().__init__(
            f"{field} '{value[:100]}' is unknown; known are: {listed}",
            violations=[Violation(field, f"is unknown; use one of {listed}, or leave it out")],
            metadata={"known": listed},
        )


class TargetNotOffered(ForgeError):
    """The target is known, but this fleet has no slot of it that fits."""

    kind = Kind.CONFLICT
    reason = "TARGET_NOT_OFFERED"

    def __init__(self, pin: str, offered: Sequence[str]) -> None:
        listed = ", ".join(offered)
        super().__init__(f"this fleet does not offer {pin}; it offers: {listed}", metadata={"offered": listed})


class IdempotencyConflict(ForgeError):
    """The idempotency key was used before, with another body."""

    kind = Kind.CONFLICT
    reason = "IDEMPOTENCY_CONFLICT"

    def __init__(self) -> None:
        super().__init__("this idempotency key was used with another body; use a new key for a new request")


class NoFreeSlot(ForgeError):
    """Nothing is free to start a runtime on."""

    kind = Kind.EXHAUSTED
    reason = "NO_FREE_SLOT"

    def __init__(self, pin: str) -> None:
        super().__init__(f"no slot of {pin} is free", retry_after_seconds=15)


class RuntimeBusy(ForgeError):
    """The runtime is rendering."""

    kind = Kind.CONFLICT
    reason = "RUNTIME_BUSY"

    def __init__(self) -> None:
        super().__init__("a runtime of this version is rendering; wait for it or cancel its render")


class RuntimeStartFailed(ForgeError):
    """The runtime did not become warm. `cause_reason` is the reason the worker gave."""

    kind = Kind.CONFLICT
    reason = "RUNTIME_START_FAILED"

    def __init__(self, cause: str, *, cause_reason: str = "RUNTIME_START_FAILED", retry: bool = False) -> None:
        super().__init__(f"the runtime could not be started: {cause}", metadata={"cause": cause_reason})
        self.cause_reason = cause_reason
        self.retry = retry


class MachineAbsent(RuntimeStartFailed):
    """There was no machine to start it on: nothing speaks against the render or its target."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause, retry=True)


class WorkerLost(ForgeError):
    """The worker went away."""

    kind = Kind.UNAVAILABLE
    reason = "WORKER_LOST"

    def __init__(self) -> None:
        super().__init__("the worker was lost", retry_after_seconds=1)


class WorkerOccupied(ForgeError):
    """The worker does something else than the scheduler thinks."""

    kind = Kind.CONFLICT
    reason = "WORKER_BUSY"


class CostLimitExceeded(ForgeError):
    """Every target the request may run on is expected to cost more than it may."""

    kind = Kind.INVALID
    reason = "COST_LIMIT_EXCEEDED"

    def __init__(self, max_cost_usd: float, estimated_cost_usd: float) -> None:
        super().__init__(
            f"the cheapest target is expected to cost ${estimated_cost_usd:.4f}, more than max_cost_usd {max_cost_usd}",
            violations=[Violation("max_cost_usd", f"must be at least {estimated_cost_usd:.4f}, or be left out")],
            metadata={"estimated_cost_usd": f"{estimated_cost_usd:.6f}"},
        )


class QuotaExceeded(ForgeError):
    """The account has used up a quota."""

    kind = Kind.EXHAUSTED
    reason = "QUOTA_EXCEEDED"

    def __init__(self, quota: str, words: str, retry_after_seconds: float) -> None:
        super().__init__(words, metadata={"quota": quota}, retry_after_seconds=retry_after_seconds)


class TargetOverloaded(ForgeError):
    """Too much work waits for every target of the request."""

    kind = Kind.EXHAUSTED
    reason = "TARGET_OVERLOADED"

    def __init__(self, pin: str, retry_after_seconds: float) -> None:
        super().__init__(
            f"so much work waits for {pin} that no more is taken on", retry_after_seconds=retry_after_seconds
        )


class RenderNotPaused(ForgeError):
    """Only a paused render can be gone on from."""

    kind = Kind.CONFLICT
    reason = "RENDER_NOT_PAUSED"

    def __init__(self, render_id: str, status: str) -> None:
        super().__init__(f"render '{render_id}' is {status}, not paused")


class RenderNotRetryable(ForgeError):
    """Only a render that ended without a video can be tried again."""

    kind = Kind.CONFLICT
    reason = "RENDER_NOT_RETRYABLE"

    def __init__(self, render_id: str, status: str) -> None:
        super().__init__(f"render '{render_id}' is {status}: only one that failed, expired or was canceled is retried")
