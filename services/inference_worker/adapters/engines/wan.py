"""Wan 2.1 as an Engine: denoises all frames of a video together, then decodes one latent frame after the other."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from services.inference_worker.adapters.engines.device import device_errors, refuse_degenerate
from services.inference_worker.adapters.engines.kernels import DEFAULT, attention_kernel
from services.inference_worker.adapters.engines.leash import leash_on
from services.inference_worker.adapters.engines.offload import Parts
from services.inference_worker.adapters.engines.preview import LatentPreview
from services.inference_worker.adapters.engines.prompts import PROMPT_TOKENS, Prompts
from services.inference_worker.adapters.engines.run import Run
from services.inference_worker.adapters.engines.state import RenderState, pack, unpack
from services.inference_worker.adapters.engines.unipc import at_rest, new_solver, predicted_clean, wake
from services.inference_worker.adapters.engines.wan_decoder import WanDecoder, pixels_of
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.errors import WeightsUnavailable
from services.inference_worker.domain.inputs.fields import latent_frames
from services.inference_worker.domain.inputs.wan import WanInputs
from services.inference_worker.ports import Listener, Plan, Rendered

_TEXT_ENCODER, _TRANSFORMER, _DECODER = "text encoder", "transformer", "decoder"
_LATENTS = "latents"
_SOLVER = "solver"

_FREE_INPUTS = frozenset({"prompt", "negative_prompt", "guidance_scale", "fps"})

_FLOPS_PER_SECOND: Mapping[str, Mapping[Phase, float]] = {
    "cuda": {Phase.ENCODING: 2e14, Phase.DENOISING: 4e14, Phase.DECODING: 4e13},
    "cpu": {Phase.ENCODING: 5e10, Phase.DENOISING: 5e10, Phase.DECODING: 3e10},
}
"""Guesses, of a large GPU and of two cores; what counts is how they compare with each other."""


@dataclass(frozen=True)
class _Size:
    """The size of a video's latents."""

    frames: int
    height: int
    width: int


class WanEngine:
    """Makes the videos of a diffusers `WanPipeline`, of whose parts it is made.

    The same latents and frames but for rounding. The pipeline and its parts stay as they are, and nothing is kept from
    one render to the next but the embeddings of prompts. Both branches of guidance go through the transformer together;
    its work on the text, the same in every step, is below a thousandth of the step and done anew each time.

    Models that compress more than the real one are given the next larger size they can, and what is too much is cut off
    at the right and the bottom.
    """

    def __init__(self, pipeline: Any, device: torch.device, fingerprint: Mapping[str, str]) -> None:
        """Raises WeightsUnavailable for those of Wan 2.2, which come under the same pipeline."""
        if pipeline.transformer_2 is not None or pipeline.vae.config.is_residual:
            raise WeightsUnavailable("the weights are not those of Wan 2.1")
        self._device = device
        self._fingerprint = fingerprint
        self._transformer = pipeline.transformer
        self._scheduler = pipeline.scheduler
        self._pixels_per_latent = pipeline.vae_scale_factor_spatial
        self._decoder = WanDecoder(pipeline.vae)
        pipeline.vae.to("cpu")  # the decoder has weights of its own, and the encoder is of no use
        self._preview = LatentPreview(self._decoder.stills, self._decoder.channels, device)
        self._parts = Parts(
            device,
            {_TEXT_ENCODER: pipeline.text_encoder, _TRANSFORMER: self._transformer, _DECODER: self._decoder},
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
        """What each step is told anew, and the frame rate, which only the file has."""
        return _FREE_INPUTS

    def compile_regions(self, compile: Callable[..., Any]) -> None:  # noqa: A002 — it is what it does
        """Replace the blocks of the transformer, nearly all of its work, by what `compile` makes of them."""
        for block in self._transformer.blocks:
            block.forward = compile(block.forward)

    def make_room(self) -> bool:
        """Keep only the parts at work on the device."""
        return self._parts.make_room()

    def plan(self, inputs: Mapping[str, object]) -> Plan:
        """What a render of these inputs, which `WanInputs` describes, will be."""
        wanted = WanInputs.read(inputs)
        return Plan(
            width=wanted.width,
            height=wanted.height,
            num_frames=wanted.num_frames,
            fps=wanted.fps,
            total_steps=wanted.num_inference_steps,
            guess_seconds=self._guess_seconds(wanted),
            warnings=tuple(
                f"{field}: only its first {PROMPT_TOKENS} tokens have an effect"
                for field, text in (("prompt", wanted.prompt), ("negative_prompt", wanted.negative_prompt))
                if self._prompts.is_cut(text)
            ),
        )

    def render(self, inputs: Mapping[str, object], listener: Listener, resume_from: bytes | None = None) -> Rendered:
        """Make a video of the inputs that `WanInputs` describes."""
        wanted = WanInputs.read(inputs)
        rest = None if resume_from is None else unpack(resume_from, self._fingerprint, inputs, free=_FREE_INPUTS)
        run = Run(self.plan(inputs), listener, self._device, step_work=[1.0] * wanted.num_inference_steps)
        kernel = attention_kernel(self._fingerprint.get("attention", DEFAULT))
        with device_errors(self._device), torch.no_grad(), kernel:
            run.encoding("encoding the prompt")
            text = torch.cat([self._prompts.embedding(prompt) for prompt in wanted.guiding_prompts])
            with self._parts.at_work(_TRANSFORMER):
                denoising = _Denoising(self._transformer, self._scheduler, text, wanted, self._start_noise(wanted))
                if rest:
                    denoising.go_on(rest)
                run.denoising(denoising.done)
                with self._leashed(run):
                    while not denoising.is_done:
                        denoising.step()
                        run.step(
                            preview=lambda: self._preview.picture(denoising.expected()),
                            checkpoint=lambda: pack(denoising.at_rest(), self._fingerprint, inputs),
                        )
            refuse_degenerate(denoising.latents)
            run.decoding()
            with self._parts.at_work(_DECODER):
                decoding = self._decoder.begin()
                for latent in denoising.latents.unbind(dim=2):
                    run.show(pixels_of(decoding.frames_of(latent), wanted.height, wanted.width))
        return run.finish()

    @contextmanager
    def _leashed(self, run: Run) -> Iterator[None]:
        """While the block runs, a render that is to stop leaves the transformer between two of its layers."""
        leash = leash_on(self._device, run.check)
        handles = [block.register_forward_pre_hook(lambda *_: leash()) for block in self._transformer.blocks]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _start_noise(self, wanted: WanInputs) -> torch.Tensor:
        """Shape (1, channels, frames, h, w). A generator of the CPU draws the same noise for every device."""
        size = self._size(wanted)
        shape = (1, self._decoder.channels, size.frames, size.height, size.width)
        return torch.randn(shape, generator=torch.Generator().manual_seed(wanted.seed)).to(self._device)

    def _size(self, wanted: WanInputs) -> _Size:
        height, width = (
            -(-pixels // (self._pixels_per_latent * patch)) * patch
            for pixels, patch in zip(
                (wanted.height, wanted.width), self._transformer.config.patch_size[1:], strict=True
            )
        )
        return _Size(latent_frames(wanted.num_frames), height, width)

    def _guess_seconds(self, wanted: WanInputs) -> Mapping[Phase, float]:
        size, branches = self._size(wanted), len(wanted.guiding_prompts)
        flops = {
            Phase.ENCODING: branches * self._prompts.flops(),
            Phase.DENOISING: wanted.num_inference_steps * branches * self._flops_per_pass(size),
            Phase.DECODING: self._decoder.flops(size.frames, size.height, size.width),
        }
        return {phase: work / _FLOPS_PER_SECOND[self._device.type][phase] for phase, work in flops.items()}

    def _flops_per_pass(self, size: _Size) -> float:
        """The arithmetic of the transformer for one branch. What is elementwise and the text's own are left out."""
        config = self._transformer.config
        channels = config.num_attention_heads * config.attention_head_dim
        tokens = size.frames * (size.height // config.patch_size[1]) * (size.width // config.patch_size[2])
        linear = 2 * (6 * channels**2 + 2 * channels * config.ffn_dim)
        attention = 4 * channels * (tokens + PROMPT_TOKENS)
        return config.num_layers * tokens * (linear + attention)


class _Denoising:
    """A video under way from noise. `latents` has the shape (1, channels, frames, h, w) and is float32.

    `text` holds what the transformer reads, shape (1, tokens, channels), or (2, …) with that of the negative prompt.
    """

    def __init__(
        self, transformer: Any, scheduler: Any, text: torch.Tensor, wanted: WanInputs, latents: torch.Tensor
    ) -> None:
        self.latents = latents
        self.done = 0
        self._transformer = transformer
        self._solver = new_solver(scheduler, wanted.num_inference_steps)
        self._timesteps = self._solver.timesteps.to(latents.device)
        self._text = text.to(transformer.dtype)
        self._guidance_scale = wanted.guidance_scale

    @property
    def is_done(self) -> bool:
        """Whether all steps are done."""
        return self.done == len(self._timesteps)

    def step(self) -> None:
        """Do the next step."""
        branches, timestep = len(self._text), self._timesteps[self.done]
        predicted = self._transformer(
            self.latents.to(self._transformer.dtype).expand(branches, -1, -1, -1, -1),
            timestep.expand(branches),
            self._text,
            return_dict=False,
        )[0]
        if branches == 2:
            with_prompt, with_negative = predicted.chunk(2)
            predicted = with_negative + self._guidance_scale * (with_prompt - with_negative)
        self.latents = self._solver.step(predicted, timestep, self.latents, return_dict=False)[0]
        self.done += 1

    def expected(self) -> torch.Tensor:
        """What the frame in the middle is expected to become: shape (channels, h, w)."""
        clean = predicted_clean(self._solver)
        return clean[0, :, clean.shape[2] // 2]

    def at_rest(self) -> RenderState:
        """What it takes to go on from here."""
        tensors, facts = at_rest(self._solver)
        return RenderState({_LATENTS: self.latents, **tensors}, {"done": self.done, _SOLVER: facts})

    def go_on(self, rest: RenderState) -> None:
        """Take the place of another one of the same inputs that was put to rest."""
        tensors = {name: tensor.to(self.latents.device) for name, tensor in rest.tensors.items()}
        self.latents = tensors.pop(_LATENTS)
        self.done = rest.facts["done"]
        wake(self._solver, tensors, rest.facts[_SOLVER])
