"""The inputs of each pipeline, read from what a request holds. All that is wrong is told at once."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.chassis.errors import InvalidInput, Violation

TEMPORAL_FACTOR = 4
"""Frames that share one latent frame in SkyReels-V2; the first frame has one of its own."""

_LARGEST_SIDE = 4096
_LARGEST_SEED = 2**53 - 1
"""Inputs travel as doubles, which are exact up to here."""


@dataclass(frozen=True)
class StableVideoInputs:
    """Inputs of `StableVideoDiffusionPipeline`. Sizes in pixels; `image` is a data URI."""

    image: str
    width: int
    height: int
    num_frames: int
    num_inference_steps: int
    fps: int
    seed: int
    min_guidance_scale: float
    max_guidance_scale: float
    motion_bucket_id: int
    noise_aug_strength: float
    decode_chunk_size: int

    @classmethod
    def read(cls, inputs: Mapping[str, object]) -> "StableVideoInputs":
        """Read a request's inputs. `guidance_scale` is the guidance of the last frame. Raises InvalidInput.

        `prompt` and `negative_prompt` are accepted and have no effect: the pipeline has no text encoder.
        """
        fields = _Fields(inputs)
        fields.text("prompt", "")
        fields.text("negative_prompt", "")
        num_frames = fields.whole("num_frames", 25, low=1, high=256)
        read = cls(
            image=fields.text("image"),
            width=fields.whole("width", 1024, low=64, high=_LARGEST_SIDE, multiple_of=64),
            height=fields.whole("height", 576, low=64, high=_LARGEST_SIDE, multiple_of=64),
            num_frames=num_frames,
            num_inference_steps=fields.whole("num_inference_steps", 25, low=1, high=1000),
            fps=fields.whole("fps", 7, low=1, high=240),
            seed=fields.whole("seed", 0, low=0, high=_LARGEST_SEED),
            min_guidance_scale=fields.number("min_guidance_scale", 1.0, low=0, high=100),
            max_guidance_scale=fields.number("guidance_scale", 3.0, low=0, high=100),
            motion_bucket_id=fields.whole("motion_bucket_id", 127, low=0, high=1023),
            noise_aug_strength=fields.number("noise_aug_strength", 0.02, low=0, high=10),
            decode_chunk_size=fields.whole("decode_chunk_size", num_frames, low=1, high=256),
        )
        if read.max_guidance_scale <= 1 < read.min_guidance_scale:
            # The pipeline decides by the maximum whether to encode for guidance, and by both whether to apply it.
            fields.refuse("min_guidance_scale", "must be at most 1 when guidance_scale is at most 1")
        fields.finish()
        return read

    @property
    def is_guided(self) -> bool:
        """Whether the video is pushed away from one without the image, which doubles the work."""
        return self.max_guidance_scale > 1


class Mode(StrEnum):
    """Ways in which SkyReels-V2 denoises a video."""

    CAUSAL = "causal"
    """Blocks see themselves and earlier blocks only, so that early ones are finished for good before later ones."""
    SYNC = "sync"
    """Every frame sees every other, and all are denoised in step."""
    ASYNC_FULL = "async_full"
    """Every frame sees every other, and each block is some steps behind the one before it."""


@dataclass(frozen=True)
class SkyReelsInputs:
    """Inputs of `SkyReelsV2DiffusionForcingPipeline`, and the mode that it leaves to be guessed. Sizes in pixels."""

    prompt: str
    negative_prompt: str
    width: int
    height: int
    num_frames: int
    num_inference_steps: int
    fps: int
    seed: int
    guidance_scale: float
    ar_step: int
    causal_block_size: int | None
    base_num_frames: int
    overlap_history: int | None
    addnoise_condition: float
    mode: Mode

    @classmethod
    def read(cls, inputs: Mapping[str, object]) -> "SkyReelsInputs":
        """Read a request's inputs. Raises InvalidInput, also for frames that the pipeline would leave as raw noise.

        Without a `mode`, blocks of more than one latent frame mean `causal`, as in diffusers.
        """
        fields = _Fields(inputs)
        ar_step = fields.whole("ar_step", 0, low=0, high=1000)
        block = fields.whole_or_none("causal_block_size", low=1, high=1024)
        read = cls(
            prompt=fields.text("prompt"),
            negative_prompt=fields.text("negative_prompt", ""),
            width=fields.whole("width", 960, low=64, high=_LARGEST_SIDE, multiple_of=16),
            height=fields.whole("height", 544, low=64, high=_LARGEST_SIDE, multiple_of=16),
            num_frames=fields.whole("num_frames", 97, low=1, high=4097, four_k_plus_one=True),
            num_inference_steps=fields.whole("num_inference_steps", 50, low=1, high=1000),
            fps=fields.whole("fps", 24, low=1, high=240),
            seed=fields.whole("seed", 0, low=0, high=_LARGEST_SEED),
            guidance_scale=fields.number("guidance_scale", 6.0, low=0, high=100),
            ar_step=ar_step,
            causal_block_size=block,
            base_num_frames=fields.whole("base_num_frames", 97, low=1, high=4097, four_k_plus_one=True),
            overlap_history=fields.whole_or_none("overlap_history", low=1, high=4097, four_k_plus_one=True),
            addnoise_condition=fields.number("addnoise_condition", 0.0, low=0, high=1000),
            mode=Mode(fields.one_of("mode", _usual_mode(ar_step, block), Mode)),
        )
        if not fields.violations:
            read._check_mode(fields)
            read._check_blocks(fields)
        fields.finish()
        return read

    @property
    def block(self) -> int:
        """Latent frames that are denoised together."""
        return self.causal_block_size or 1

    @property
    def is_long(self) -> bool:
        """Whether the video is made in several windows."""
        return self.num_frames > self.base_num_frames

    def windows(self) -> tuple["Window", ...]:
        """The windows the pipeline makes the video in, in order; one for a video that is not long."""
        frames = latent_frames(self.num_frames)
        if not self.is_long or self.overlap_history is None:
            return (Window(frames, 0),)
        base, overlap = latent_frames(self.base_num_frames), latent_frames(self.overlap_history)
        windows, done = [Window(base, 0)], base
        while done < frames:
            taken_over = overlap - overlap % self.block  # the pipeline aligns what it takes over to whole blocks
            windows.append(Window(min(frames - done + overlap, base), taken_over))
            done += base - overlap
        return tuple(windows)

    def _check_mode(self, fields: "_Fields") -> None:
        if self.mode is Mode.CAUSAL and self.block == 1:
            fields.refuse("mode", "causal needs a causal_block_size above 1, such as 5")
        elif self.mode is Mode.SYNC and self.ar_step:
            fields.refuse("mode", "sync denoises all frames in step; set ar_step to 0")
        elif self.mode is Mode.SYNC and self.block > 1:
            fields.refuse("mode", "sync knows no blocks; leave causal_block_size out")
        elif self.mode is Mode.ASYNC_FULL and not self.ar_step:
            fields.refuse("mode", "async_full needs an ar_step above 0, such as 5")

    def _check_blocks(self, fields: "_Fields") -> None:
        if self.is_long and self.overlap_history is None:
            fields.refuse("overlap_history", "is needed when num_frames is above base_num_frames; 17 and 37 work well")
        elif self.is_long and (self.overlap_history or 0) >= self.base_num_frames:
            fields.refuse("overlap_history", "must be less than base_num_frames")
        elif any(window.latent_frames % self.block for window in self.windows()):
            fields.refuse(
                "causal_block_size",
                f"{self.num_frames} frames make windows of "
                f"{', '.join(str(window.latent_frames) for window in self.windows())} latent frames, which do not "
                f"split into blocks of {self.block}; change num_frames, base_num_frames or overlap_history",
            )


@dataclass(frozen=True)
class Window:
    """Latent frames that are denoised in one go, the first `taken_over` of them as the window before left them."""

    latent_frames: int
    taken_over: int


def _usual_mode(ar_step: int, block: int | None) -> Mode:
    """How diffusers would denoise, which is not told the mode."""
    if block is not None and block > 1:
        return Mode.CAUSAL
    return Mode.ASYNC_FULL if ar_step else Mode.SYNC


def latent_frames(frames: int) -> int:
    """How many latent frames make `frames` frames."""
    return (frames - 1) // TEMPORAL_FACTOR + 1


def frames_of(latent_frames: int) -> int:
    """How many frames so many latent frames make, at least one."""
    return (latent_frames - 1) * TEMPORAL_FACTOR + 1


class _Fields:
    """Reads typed values and remembers what is wrong. Values never appear in what it says."""

    def __init__(self, inputs: Mapping[str, object]) -> None:
        self._inputs = dict(inputs)
        self.violations: list[Violation] = []

    def refuse(self, field: str, description: str) -> None:
        self.violations.append(Violation(field, description))

    def finish(self) -> None:
        """Refuse what nobody asked for, then raise InvalidInput when anything was wrong."""
        for field in self._inputs:
            self.refuse(field, "is no input of this model")
        if self.violations:
            raise InvalidInput(self.violations)

    def text(self, field: str, default: str | None = None) -> str:
        value = self._taken(field, default)
        if isinstance(value, str):
            return value
        self.refuse(field, "is needed" if value is None else "must be text")
        return ""

    def one_of(self, field: str, default: str, choices: Iterable[str]) -> str:
        value = self._taken(field, default)
        if isinstance(value, str) and value in {*choices}:
            return value
        self.refuse(field, f"must be one of {', '.join(choices)}")
        return default

    def number(self, field: str, default: float, *, low: float, high: float) -> float:
        value = self._taken(field, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            self.refuse(field, "must be a number")
            return default
        if not low <= value <= high:
            self.refuse(field, f"must be from {low} to {high}")
        return float(value)

    def whole(
        self, field: str, default: int, *, low: int, high: int, multiple_of: int = 1, four_k_plus_one: bool = False
    ) -> int:
        value = self._taken(field, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
            self.refuse(field, "must be a whole number")
            return default
        value = int(value)
        if not low <= value <= high:
            self.refuse(field, f"must be from {low} to {high}")
        elif value % multiple_of:
            self.refuse(field, f"must be a multiple of {multiple_of}")
        elif four_k_plus_one and value % TEMPORAL_FACTOR != 1:
            self.refuse(field, f"must be a multiple of {TEMPORAL_FACTOR} plus 1, such as 81 or 97")
        return value

    def whole_or_none(self, field: str, *, low: int, high: int, four_k_plus_one: bool = False) -> int | None:
        if self._inputs.get(field) is None:
            self._inputs.pop(field, None)
            return None
        return self.whole(field, low, low=low, high=high, four_k_plus_one=four_k_plus_one)

    def _taken(self, field: str, default: object) -> object:
        value = self._inputs.pop(field, None)
        return default if value is None else value
