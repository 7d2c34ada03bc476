"""What the worker needs from the outside."""

from __future__ import annotations  # numpy is only a word here: the worker serves before it imports it

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from services.inference_worker.domain.attempt import PeakMemory, Phase
from services.inference_worker.domain.version import StartMoment, Version

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Result = TypeVar("Result")


class Lane(Protocol):
    """Where one kind of work is done, so that the event loop stays free: the device's, or the encoder's."""

    @property
    def is_busy(self) -> bool:
        """Whether work is under way or waits."""
        ...

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do `work` when its turn comes, one after the other, in the caller's context.

        Canceling the wait does not stop work under way.
        """
        ...

    def close(self) -> None:
        """Take no more work. What is under way goes on."""
        ...


@dataclass(frozen=True)
class Plan:
    """What a render will be, known before any work on it."""

    width: int
    height: int
    num_frames: int
    fps: int
    total_steps: int
    """Denoising steps the device will run."""
    guess_seconds: Mapping[Phase, float]
    """How long encoding, denoising and decoding may take. Until some of it is measured, only the proportions count."""
    cuts: Sequence[int] = ()
    """Where the video is best cut into pieces, in frames from its start: those up to a cut come long before the others.
    Empty when they all come evenly."""
    mode: str = ""
    """Which of the engine's ways of making a video this is; empty where there is only one."""
    warnings: tuple[str, ...] = ()
    """What the sender should know."""


@dataclass(frozen=True)
class Moment:
    """Progress inside a phase. `share` of the phase's work is done; steps are counted while denoising only.

    `preview` and `checkpoint` may be called while the moment is being reported, not later.
    """

    phase: Phase
    share: float
    done_steps: int = 0
    total_steps: int = 0
    message: str = ""
    preview: Callable[[], NDArray[np.uint8]] | None = None
    """Makes a small picture of what is there by now: uint8 RGB, shape (height, width, 3)."""
    checkpoint: Callable[[], bytes] | None = None
    """Makes a file from which an engine with the same fingerprint goes on after this step, bit for bit."""


class Listener(Protocol):
    """Follows a render from inside the engine's thread."""

    def report(self, moment: Moment) -> None:
        """Take note of progress."""
        ...

    def show(self, frames: NDArray[np.uint8]) -> None:
        """Take the next frames of the video, in order: uint8 RGB, shape (frames, height, width, 3)."""
        ...

    def check(self) -> None:
        """Raise RenderStopped when the attempt was told to stop."""
        ...


@dataclass(frozen=True)
class Rendered:
    """What an engine knows only after a render."""

    peak_memory: Mapping[Phase, PeakMemory]


class Engine(Protocol):
    """A loaded model. It makes one video at a time, always on the thread it was loaded on."""

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """Weights, number format, libraries and device: all that a checkpoint relies on."""
        ...

    @property
    def free_inputs(self) -> frozenset[str]:
        """Inputs that may differ from those a checkpoint was made with: from there on the video follows the new ones.

        The same checkpoint and the same inputs always make the same video.
        """
        ...

    def plan(self, inputs: Mapping[str, object]) -> Plan:
        """Say what a render of these inputs will be. Takes no device time. Raises InvalidInput."""
        ...

    def render(self, inputs: Mapping[str, object], listener: Listener, resume_from: bytes | None = None) -> Rendered:
        """Make a video, showing its frames as they are finished.

        Reports encoding; denoising: how many steps are done at first (0, or those of the checkpoint), then each step
        when the device has finished it; decoding. Denoising and decoding may take turns. Every step offers a
        checkpoint and a preview. Checks the listener at least once a step and between pieces of decoding. From a
        checkpoint all frames are shown again from the first. However it ends, the next video comes out as from a fresh
        engine. Raises RenderStopped, InvalidInput, CheckpointRefused, OutOfMemory, EngineFailed.
        """
        ...

    def make_room(self) -> bool:
        """Take less device memory from now on, at the price of speed, with the same videos bit for bit.

        False when there is nothing left to do about it.
        """
        ...


class EngineLoader(Protocol):
    """Makes engines."""

    def load(self, version: Version, report: Callable[[StartMoment], None]) -> Engine:
        """Load a version, ready to render. Takes seconds to minutes. Raises WeightsUnavailable, OutOfMemory."""
        ...


class Recording(Protocol):
    """A video file in the making."""

    @property
    def num_frames(self) -> int:
        """Frames that the pieces hold."""
        ...

    def add(self, frames: NDArray[np.uint8]) -> bytes:
        """Take the next frames; the pieces that are finished by now, one after the other, often none."""
        ...

    def finish(self) -> tuple[bytes, bytes]:
        """The last piece, empty when there is none, and the whole file with its index at the front."""
        ...


class VideoEncoder(Protocol):
    """Makes video files. The pieces of a recording, one after the other, are a file that plays while it grows."""

    media_type: str

    def record(self, width: int, height: int, fps: int, cuts: Sequence[int] = ()) -> Recording:
        """Begin a file that plays at exactly `fps`, with pieces that end at the `cuts`. Width and height are even."""
        ...


class PictureEncoder(Protocol):
    """Makes small picture files."""

    media_type: str

    def encode(self, pixels: NDArray[np.uint8], most_width_px: int | None = None) -> bytes:
        """The file's bytes, of uint8 RGB in shape (height, width, 3), made smaller where it is wider than it may be."""
        ...


class ObjectStore(Protocol):
    """Where videos, their pieces, previews and checkpoints are kept."""

    async def put(self, key: str, content: bytes) -> None:
        """Write an object: readers see all of it or nothing. Raises StorageFailed."""
        ...

    async def get(self, key: str) -> bytes:
        """Read an object. Raises StorageFailed when it cannot be read or is not there."""
        ...
