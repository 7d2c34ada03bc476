"""The inputs of Stable Video Diffusion."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.inference_worker.domain.inputs.fields import LARGEST_SEED, LARGEST_SIDE, Fields


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
        fields = Fields(inputs)
        fields.text("prompt", "")
        fields.text("negative_prompt", "")
        num_frames = fields.whole("num_frames", 25, low=1, high=256)
        read = cls(
            image=fields.text("image"),
            width=fields.whole("width", 1024, low=64, high=LARGEST_SIDE, multiple_of=64),
            height=fields.whole("height", 576, low=64, high=LARGEST_SIDE, multiple_of=64),
            num_frames=num_frames,
            num_inference_steps=fields.whole("num_inference_steps", 25, low=1, high=1000),
            fps=fields.whole("fps", 7, low=1, high=240),
            seed=fields.whole("seed", 0, low=0, high=LARGEST_SEED),
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
