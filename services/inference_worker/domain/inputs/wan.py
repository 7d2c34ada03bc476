"""The inputs of Wan 2.1, read from what a request holds."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.inference_worker.domain.inputs.fields import LARGEST_SEED, LARGEST_SIDE, Fields


@dataclass(frozen=True)
class WanInputs:
    """Inputs of `WanPipeline`. Sizes in pixels."""

    prompt: str
    negative_prompt: str
    width: int
    height: int
    num_frames: int
    num_inference_steps: int
    fps: int
    seed: int
    guidance_scale: float

    @classmethod
    def read(cls, inputs: Mapping[str, object]) -> "WanInputs":
        """Read a request's inputs. Raises InvalidInput, also for frames that the pipeline would silently leave out."""
        fields = Fields(inputs)
        read = cls(
            prompt=fields.text("prompt"),
            negative_prompt=fields.text("negative_prompt", ""),
            width=fields.whole("width", 832, low=64, high=LARGEST_SIDE, multiple_of=16),
            height=fields.whole("height", 480, low=64, high=LARGEST_SIDE, multiple_of=16),
            num_frames=fields.whole("num_frames", 81, low=1, high=4097, four_k_plus_one=True),
            num_inference_steps=fields.whole("num_inference_steps", 50, low=1, high=1000),
            fps=fields.whole("fps", 16, low=1, high=240),
            seed=fields.whole("seed", 0, low=0, high=LARGEST_SEED),
            guidance_scale=fields.number("guidance_scale", 5.0, low=0, high=100),
        )
        fields.finish()
        return read

    @property
    def guiding_prompts(self) -> tuple[str, ...]:
        """The texts that the model is asked about in each step; the negative one only where it has an effect."""
        return (self.prompt, self.negative_prompt) if self.guidance_scale > 1 else (self.prompt,)
