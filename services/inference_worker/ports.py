"""What the worker needs from the outside."""

from __future__ import annotations  # numpy is only a word here: the worker serves before it imports it

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.version import StartMoment, Version

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Stop(Protocol):
    """Says when to give up."""

    def check(self) -> None:
        """Raise RenderStopped when the attempt was told to stop."""
        ...


@dataclass(frozen=True)
class Moment:
    """Progress inside a phase. `share` of the phase's work is done; steps are counted while denoising only."""

    phase: Phase
    share: float
    done_steps: int = 0
    total_steps: int = 0
    message: str = ""


Report = Callable[[Moment], None]


@dataclass(frozen=True)
class Clip:
    """Frames as uint8 RGB, shape (frames, height, width, 3), and what the sender should know about them."""

    frames: NDArray[np.uint8]
    fps: int
    warnings: tuple[str, ...] = ()


class Engine(Protocol):
    """A loaded model. It makes one clip at a time, always on the thread it was loaded on."""

    @property
    def shares(self) -> Mapping[Phase, float]:
        """How its work usually divides among the phases; any scale."""
        ...

    def render(self, inputs: Mapping[str, object], report: Report, stop: Stop) -> Clip:
        """Make a clip.

        Reports encoding, denoising (0 steps done at first, then each step when the device has finished it), decoding.
        Checks `stop` at each step and between pieces of decoding. However it ends, the next clip comes out as from a
        fresh engine. Raises RenderStopped, InvalidInput, OutOfMemory, EngineFailed.
        """
        ...


class EngineLoader(Protocol):
    """Makes engines."""

    def load(self, version: Version, report: Callable[[StartMoment], None]) -> Engine:
        """Load a version, ready to render. Takes seconds to minutes. Raises WeightsUnavailable, OutOfMemory."""
        ...


class VideoEncoder(Protocol):
    """Makes files of clips."""

    media_type: str

    def encode(self, clip: Clip, report: Report, stop: Stop) -> bytes:
        """The file's bytes; it plays at exactly `clip.fps`. Reports muxing; checks `stop` between frames."""
        ...


class VideoStore(Protocol):
    """Where videos are kept."""

    async def put(self, key: str, video: bytes) -> None:
        """Write a whole video under `key`: readers see all of it or nothing. Raises StorageFailed."""
        ...
