"""SkyReels-V2 as an Engine: denoises a video window by window, and decodes each frame as soon as it is final."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from services.chassis.errors import InvalidInput, Violation
from services.inference_worker.adapters.engines.device import device_errors
from services.inference_worker.adapters.engines.kernels import DEFAULT, attention_kernel
from services.inference_worker.adapters.engines.offload import Parts
from services.inference_worker.adapters.engines.preview import LatentPreview
from services.inference_worker.adapters.engines.prompts import PROMPT_TOKENS, Prompts
from services.inference_worker.adapters.engines.run import Run
from services.inference_worker.adapters.engines.skyreels.course import Course, course_of
from services.inference_worker.adapters.engines.skyreels.rendering import Model, Rendering
from services.inference_worker.adapters.engines.skyreels.transformer import Region, SkyReelsTransformer
from services.inference_worker.adapters.engines.state import pack, unpack
from services.inference_worker.adapters.engines.unipc import new_solver
from services.inference_worker.adapters.engines.wan_decoder import WanDecoder
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.inputs.skyreels import SkyReelsInputs
from services.inference_worker.ports import Listener, Plan, Rendered

_TEXT_ENCODER, _TRANSFORMER, _DECODER = "text encoder", "transformer", "decoder"

_FREE_INPUTS = frozenset({"prompt", "negative_prompt", "guidance_scale", "fps"})

# Of the CPU with the demo weights, measured on two cores; of a GPU guessed from what others reach on a Hopper.
_FLOPS_PER_SECOND: Mapping[str, Mapping[Phase, float]] = {
    "cpu": {Phase.ENCODING: 5e10, Phase.DENOISING: 8e10, Phase.DECODING: 4.4e10},
    "cuda": {Phase.ENCODING: 2e14, Phase.DENOISING: 4e14, Phase.DECODING: 1e14},
}


class SkyReelsEngine:
    """Makes the videos of a diffusers `SkyReelsV2DiffusionForcingPipeline`, of whose parts it is made.

    The same latents and frames but for rounding, with much less work. The pipeline and its parts stay as they are, and
    nothing is kept from one render to the next but the embeddings of prompts.

    Models that compress more than the real one are given the next larger size they can, and what is too much is cut off
    at the right and the bottom.
    """

    def __init__(self, pipeline: Any, device: torch.device, fingerprint: Mapping[str, str]) -> None:
        self._pipeline = pipeline
        self._device = device
        self._fingerprint = fingerprint
        decoder = WanDecoder(pipeline.vae)
        pipeline.vae.to("cpu")  # the decoder has weights of its own, and the encoder is of no use
        self._model = Model(
            SkyReelsTransformer(pipeline.transformer),
            pipeline.scheduler,
            decoder,
            LatentPreview(decoder.stills, decoder.channels, device),
            device,
        )
        self._parts = Parts(
            device, {_TEXT_ENCODER: pipeline.text_encoder, _TRANSFORMER: pipeline.transformer, _DECODER: decoder}
        )
        self._prompts = Prompts(
            pipeline, device, fingerprint.get("weights", ""), at_work=lambda: self._parts.at_work(_TEXT_ENCODER)
        )

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """What it was made with."""
        return self._fingerprint

    @property
    def free_inputs(self) -> frozenset[str]:
        """What each pass is told anew. Frames that are final stay; what is known of them is worked out again."""
        return _FREE_INPUTS

    def compile_regions(self, compile: Callable[[Region], Region]) -> None:  # noqa: A002 — it is what it does
        """Replace the parts of the transformer's layers by what `compile` makes of them."""
        self._model.transformer.compile_regions(compile)

    def make_room(self) -> bool:
        """Keep only the parts at work on the device."""
        return self._parts.make_room()

    def plan(self, inputs: Mapping[str, object]) -> Plan:
        """What a render of these inputs, which `SkyReelsInputs` describes, will be."""
        return self._planned(self._course(inputs))

    def render(self, inputs: Mapping[str, object], listener: Listener, resume_from: bytes | None = None) -> Rendered:
        """Make a video of the inputs that `SkyReelsInputs` describes."""
        course = self._course(inputs)
        rest = None if resume_from is None else unpack(resume_from, self._fingerprint, inputs, free=_FREE_INPUTS)
        run = Run(self._planned(course), listener, self._device, step_work=course.step_flops)
        kernel = attention_kernel(self._fingerprint.get("attention", DEFAULT))
        with device_errors(self._device), torch.no_grad(), kernel:
            run.encoding("encoding the prompt")
            prompts = (course.wanted.prompt, course.wanted.negative_prompt)[: course.branches]
            embeddings = torch.cat([self._prompts.embedding(prompt) for prompt in prompts])
            with self._parts.at_work(_TRANSFORMER, _DECODER):
                rendering = Rendering(course, self._model, self._model.transformer.read(embeddings), run)
                if rest:
                    rendering.go_on(rest)
                rendering.finish(checkpoint=lambda: pack(rendering.at_rest(), self._fingerprint, inputs))
        return run.finish()

    def _course(self, inputs: Mapping[str, object]) -> Course:
        """Raises InvalidInput, also for more steps than the model tells apart."""
        wanted = SkyReelsInputs.read(inputs)
        timesteps = new_solver(self._pipeline.scheduler, wanted.num_inference_steps).timesteps
        if len(timesteps.unique()) < wanted.num_inference_steps:
            raise InvalidInput(
                [Violation("num_inference_steps", "is more than the model can tell apart; use at most 100")]
            )
        config, factor = self._pipeline.transformer.config, self._pipeline.vae_scale_factor_spatial
        height, width = (
            -(-pixels // (factor * patch)) * patch
            for pixels, patch in zip((wanted.height, wanted.width), config.patch_size[1:], strict=True)
        )
        return course_of(wanted, config, height=height, width=width)

    def _planned(self, course: Course) -> Plan:
        wanted, speed = course.wanted, _FLOPS_PER_SECOND[self._device.type]
        flops = {
            Phase.ENCODING: course.branches * self._prompts.flops(),
            Phase.DENOISING: sum(course.step_flops),
            Phase.DECODING: self._model.decoder.flops(course.latent_frames, course.height, course.width),
        }
        return Plan(
            width=wanted.width,
            height=wanted.height,
            num_frames=wanted.num_frames,
            fps=wanted.fps,
            total_steps=len(course.step_flops),
            guess_seconds={phase: work / speed[phase] for phase, work in flops.items()},
            cuts=course.cuts,
            mode=wanted.mode,
            warnings=tuple(
                f"{field}: only its first {PROMPT_TOKENS} tokens have an effect"
                for field, text in (("prompt", wanted.prompt), ("negative_prompt", wanted.negative_prompt))
                if self._prompts.is_cut(text)
            ),
        )
