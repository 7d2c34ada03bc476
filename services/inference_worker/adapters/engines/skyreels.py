"""SkyReels-V2 with diffusion forcing: a prompt to a clip."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from services.chassis.errors import InvalidInput, Violation
from services.inference_worker.adapters.engines.device import (
    device_errors,
    finish,
    own_global_noise,
    refuse_degenerate,
    to_uint8,
)
from services.inference_worker.adapters.engines.steering import Steps, after_step, watched
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.inputs import SkyReelsInputs
from services.inference_worker.ports import Clip, Moment, Report, Stop

PROMPT_TOKENS = 512


class SkyReelsEngine:
    """Drives a diffusers `SkyReelsV2DiffusionForcingPipeline`, one clip at a time.

    Denoises through the pipeline and decodes by itself, latent frame by latent frame, so that decoding can be followed
    and left. Models that compress more than the real one are given the next larger size they can, and what is too much
    is cut off at the right and the bottom.
    """

    def __init__(self, pipeline: Any, device: torch.device, shares: Mapping[Phase, float]) -> None:
        self._pipeline = pipeline
        self._device = device
        self._frames_per_block = pipeline.transformer.config.num_frame_per_block
        self._granularity = pipeline.vae_scale_factor_spatial * pipeline.transformer.config.patch_size[1]
        self.shares = shares

    def render(self, inputs: Mapping[str, object], report: Report, stop: Stop) -> Clip:
        """Make a clip of the inputs that `SkyReelsInputs` describes."""
        wanted = SkyReelsInputs.read(inputs)
        total_steps = self._iterations(wanted)
        report(Moment(Phase.ENCODING, 0.0, message="encoding the prompt"))
        try:
            # The noise on the overlap comes from the global generator; another seed keeps it unlike the start's.
            with device_errors(self._device), torch.no_grad(), own_global_noise(wanted.seed + 1, self._device):
                latents = self._denoised(wanted, Steps(total_steps, report), stop)
                refuse_degenerate(latents)
                return Clip(self._decoded(latents, wanted, report, stop), wanted.fps, self._notes(wanted))
        finally:
            # The pipeline writes a request's block size into the model and never takes it back.
            self._pipeline.transformer._set_ar_attention(self._frames_per_block)
            self._pipeline.vae.clear_cache()

    def _iterations(self, wanted: SkyReelsInputs) -> int:
        """Denoising iterations of all windows. Raises InvalidInput for more steps than the model tells apart."""
        scheduler = self._pipeline.scheduler
        scheduler.set_timesteps(wanted.num_inference_steps)
        if len(scheduler.timesteps.unique()) < wanted.num_inference_steps:
            raise InvalidInput(
                [Violation("num_inference_steps", "is more than the model can tell apart; use at most 100")]
            )
        return sum(
            len(
                self._pipeline.generate_timestep_matrix(
                    window.latent_frames,
                    scheduler.timesteps,
                    window.latent_frames,
                    wanted.ar_step,
                    window.taken_over,
                    wanted.block,
                )[0]
            )
            for window in wanted.windows()
        )

    def _denoised(self, wanted: SkyReelsInputs, steps: Steps, stop: Stop) -> torch.Tensor:
        """Latents of shape (1, channels, latent frames, height / factor, width / factor)."""
        with watched(self._pipeline.transformer, steps, stop):
            return self._pipeline(
                prompt=wanted.prompt,
                negative_prompt=wanted.negative_prompt,
                width=self._rounded_up(wanted.width),
                height=self._rounded_up(wanted.height),
                num_frames=wanted.num_frames,
                num_inference_steps=wanted.num_inference_steps,
                guidance_scale=wanted.guidance_scale,
                ar_step=wanted.ar_step,
                causal_block_size=wanted.block,
                base_num_frames=wanted.base_num_frames,
                overlap_history=wanted.overlap_history if wanted.is_long else None,
                addnoise_condition=wanted.addnoise_condition,
                fps=wanted.fps,
                max_sequence_length=PROMPT_TOKENS,
                # A generator of the CPU starts from the same noise on every device.
                generator=torch.Generator("cpu").manual_seed(wanted.seed),
                output_type="latent",
                callback_on_step_end=after_step(steps, stop, lambda: finish(self._device)),
            ).frames

    def _decoded(
        self, latents: torch.Tensor, wanted: SkyReelsInputs, report: Report, stop: Stop
    ) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Frames of shape (frames, height, width, 3)."""
        vae = self._pipeline.vae
        frames = np.empty((wanted.num_frames, wanted.height, wanted.width, 3), dtype=np.uint8)
        report(Moment(Phase.DECODING, 0.0, message="decoding begins"))
        vae.clear_cache()
        hidden = vae.post_quant_conv(_unscaled(latents.to(vae.dtype), vae.config))
        total, done = hidden.shape[2], 0
        for number in range(total):
            stop.check()
            # The decoder is causal: what it must know of earlier latent frames is in the cache.
            pixels = vae.decoder(
                hidden[:, :, number : number + 1], feat_cache=vae._feat_map, feat_idx=[0], first_chunk=number == 0
            )
            pixels = to_uint8(_without_patches(pixels, vae.config.patch_size))[0, :, :, : wanted.height, : wanted.width]
            frames[done : done + pixels.shape[1]] = pixels.permute(1, 2, 3, 0).cpu().numpy()
            done += pixels.shape[1]
            share = (number + 1) / total
            report(Moment(Phase.DECODING, share, message=f"decoded {done} of {wanted.num_frames} frames"))
        stop.check()
        return frames

    def _notes(self, wanted: SkyReelsInputs) -> tuple[str, ...]:
        texts = {"prompt": wanted.prompt, "negative_prompt": wanted.negative_prompt}
        return tuple(
            f"{field}: only its first {PROMPT_TOKENS} tokens have an effect"
            for field, text in texts.items()
            if len(self._pipeline.tokenizer(text).input_ids) > PROMPT_TOKENS
        )

    def _rounded_up(self, pixels: int) -> int:
        return -(-pixels // self._granularity) * self._granularity


def _unscaled(latents: torch.Tensor, config: Any) -> torch.Tensor:
    """Latents as the VAE made them, before they were given mean 0 and deviation 1."""

    def by_channel(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=latents.dtype, device=latents.device).view(1, -1, 1, 1, 1)

    return latents / (1.0 / by_channel(config.latents_std)) + by_channel(config.latents_mean)


def _without_patches(pixels: torch.Tensor, patch_size: int | None) -> torch.Tensor:
    """(1, 3·p·p, frames, h, w) to (1, 3, frames, h·p, w·p), for VAEs that work on patches of p × p pixels."""
    if not patch_size:
        return pixels
    batch, channels, frames, height, width = pixels.shape
    split = pixels.view(batch, channels // patch_size**2, patch_size, patch_size, frames, height, width)
    return split.permute(0, 1, 4, 5, 3, 6, 2).reshape(batch, -1, frames, height * patch_size, width * patch_size)
