"""Attempts: what is asked for, what is told on the way, and how it ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from services.inference_worker.domain.version import StartMoment, Version, WorkerState


class Phase(StrEnum):
    """Stages of an attempt, in order."""

    ENCODING = "encoding"
    DENOISING = "denoising"
    DECODING = "decoding"
    MUXING = "muxing"
    STORING = "storing"
    DONE = "done"


@dataclass(frozen=True)
class AttemptId:
    """One try at a render. A higher epoch of the same render makes the lower ones worthless."""

    render_id: str
    epoch: int


@dataclass(frozen=True)
class Assignment:
    """What a worker is asked to make, and where to put it: the video under `output_key`, all else beside it."""

    id: AttemptId
    inputs: Mapping[str, object]
    output_key: str
    checkpoint_key: str | None = None
    """The checkpoint to go on from; None to begin at the start."""
    may_make_room: bool = True
    """Whether a render that runs out of device memory is tried once more with less, which takes longer."""
    pause_after_step: int | None = None
    """The denoising step to pause after; None to render to the end."""
    trace_context: Mapping[str, str] = field(default_factory=dict)
    """What its spans are parts of, as headers; empty when it is not traced."""

    @property
    def folder(self) -> str:
        """Where everything but the video goes."""
        return self.output_key.rpartition("/")[0]

    @property
    def thumbnail_key(self) -> str:
        """Where the picture goes that stands for the video; whoever shows it looks there."""
        return f"{self.folder}/thumbnail.webp"

    def pauses_after(self, step: int, total_steps: int) -> bool:
        """Whether an attempt that has just taken `step` pauses there.

        It pauses after the first step it takes from `pause_after_step` on, but not after the last one, which leaves
        nothing to decide.
        """
        return self.pause_after_step is not None and self.pause_after_step <= step < total_steps


@dataclass(frozen=True)
class PeakMemory:
    """The most memory in use at once, in bytes.

    On a GPU what torch had allocated, and what it had reserved to allocate from; on the CPU both are what the process
    had resident.
    """

    allocated_bytes: int
    reserved_bytes: int


@dataclass(frozen=True)
class Output:
    """A video that was written."""

    key: str
    media_type: str
    size_bytes: int
    sha256: str
    width: int
    height: int
    num_frames: int
    fps: float
    phase_ms: Mapping[Phase, int]
    warnings: tuple[str, ...]
    mode: str
    peak_memory: Mapping[Phase, PeakMemory]
    eta_error: float | None
    """How far the ETAs were off: the median of |foretold - true time left| as a share of the attempt."""


@dataclass(frozen=True)
class Failure:
    """Why a load or an attempt failed. `retry`: the same may succeed elsewhere or later."""

    reason: str
    message: str
    retry: bool


@dataclass(frozen=True)
class Canceled:
    """The attempt was stopped because somebody asked for that."""


@dataclass(frozen=True)
class Paused:
    """The attempt stopped after the step it was to pause after; checkpoint and preview of that step are kept."""


AttemptResult = Output | Failure | Canceled | Paused
"""How an attempt ends."""


@dataclass(frozen=True)
class Reading:
    """How far an attempt is. ETAs are seconds; None while nothing was measured to base them on."""

    phase: Phase
    done_steps: int
    total_steps: int
    fraction: float
    eta_seconds_p50: float | None
    eta_seconds_p90: float | None


@dataclass(frozen=True)
class Kept:
    """What an attempt has put into the object store on its way."""

    pieces: int = 0
    playable_seconds: float = 0.0
    preview_key: str = ""
    checkpoint_key: str = ""
    thumbnail_key: str = ""


@dataclass(frozen=True)
class AttemptEvent:
    """A moment of an attempt. Only the last one has a `result`."""

    seq: int
    reading: Reading
    message: str
    kept: Kept = Kept()
    result: AttemptResult | None = None


@dataclass(frozen=True)
class StartEvent:
    """A moment of a start. A failed one says why, a ready one how long the start took and what results rely on now."""

    moment: StartMoment
    failure: Failure | None = None
    load_ms: int | None = None
    software: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerStatus:
    """What a worker is doing."""

    worker_id: str
    state: WorkerState
    version: Version | None
    running: AttemptId | None
