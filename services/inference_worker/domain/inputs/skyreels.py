"""The inputs of SkyReels-V2, and the windows that long videos are made in."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.inference_worker.domain.inputs.fields import LARGEST_SEED, LARGEST_SIDE, Fields, latent_frames


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
        fields = Fields(inputs)
        ar_step = fields.whole("ar_step", 0, low=0, high=1000)
        block = fields.whole_or_none("causal_block_size", low=1, high=1024)
        read = cls(
            prompt=fields.text("prompt"),
            negative_prompt=fields.text("negative_prompt", ""),
            width=fields.whole("width", 960, low=64, high=LARGEST_SIDE, multiple_of=16),
            height=fields.whole("height", 544, low=64, high=LARGEST_SIDE, multiple_of=16),
            num_frames=fields.whole("num_frames", 97, low=1, high=4097, four_k_plus_one=True),
            num_inference_steps=fields.whole("num_inference_steps", 50, low=1, high=1000),
            fps=fields.whole("fps", 24, low=1, high=240),
            seed=fields.whole("seed", 0, low=0, high=LARGEST_SEED),
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

    def _check_mode(self, fields: Fields) -> None:
        if self.mode is Mode.CAUSAL and self.block == 1:
            fields.refuse("mode", "causal needs a causal_block_size above 1, such as 5")
        elif self.mode is Mode.SYNC and self.ar_step:
            fields.refuse("mode", "sync denoises all frames in step; set ar_step to 0")
        elif self.mode is Mode.SYNC and self.block > 1:
            fields.refuse("mode", "sync knows no blocks; leave causal_block_size out")
        elif self.mode is Mode.ASYNC_FULL and not self.ar_step:
            fields.refuse("mode", "async_full needs an ar_step above 0, such as 5")

    def _check_blocks(self, fields: Fields) -> None:
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
