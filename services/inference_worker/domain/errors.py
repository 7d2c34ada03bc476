"""What can go wrong in a worker, by name."""

from services.chassis.errors import ForgeError, Kind
from services.inference_worker.domain.attempt import Failure


class WorkerBusy(ForgeError):
    """The worker cannot take this on now."""

    kind = Kind.CONFLICT
    reason = "WORKER_BUSY"


class EngineFailed(ForgeError):
    """The engine could not make the video."""

    reason = "ENGINE_FAILED"


class OutOfMemory(ForgeError):
    """The device has too little memory for this. Elsewhere, or when others are done, there may be enough."""

    kind = Kind.EXHAUSTED
    reason = "OUT_OF_MEMORY"

    def __init__(self) -> None:
        super().__init__("the device ran out of memory; ask for a smaller or shorter video")


class CheckpointRefused(ForgeError):
    """The checkpoint is not of this render, or of an engine whose results would differ, or is damaged."""

    kind = Kind.CONFLICT
    reason = "CHECKPOINT_REFUSED"


class WeightsUnavailable(ForgeError):
    """The weights are not there, or must not or cannot be loaded."""

    reason = "WEIGHTS_UNAVAILABLE"


class StorageFailed(ForgeError):
    """The object store did not take or give what it should."""

    kind = Kind.UNAVAILABLE
    reason = "STORAGE_FAILED"

    def __init__(self) -> None:
        super().__init__("the object store could not be written or read")


class WorkerStopping(ForgeError):
    """The worker was told to end: it begins nothing new, and what it was at goes on elsewhere."""

    kind = Kind.UNAVAILABLE
    reason = "WORKER_STOPPING"

    def __init__(self) -> None:
        super().__init__("the worker was told to end; the render can go on elsewhere")


class RenderStopped(Exception):
    """The attempt was told to stop. Not an error: it unwinds the engine."""


def failure_of(error: Exception, doing: str) -> Failure:
    """What to tell about `error`, met while `doing`.

    Errors of ours are told as they are. Of any other nothing is told but that it happened: its text may hold a prompt
    or a path.
    """
    if not isinstance(error, ForgeError):
        error = EngineFailed(f"the engine failed while {doing}")
    return Failure(error.reason, error.message, retry=error.kind in (Kind.UNAVAILABLE, Kind.EXHAUSTED))
