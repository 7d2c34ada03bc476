"""Stable Video Diffusion: an image to a clip."""

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
    without_known_warnings,
)
from services.inference_worker.adapters.engines.steering import Steps, after_step, watched
from services.inference_worker.adapters.pillow_images import read_image
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.inputs import StableVideoInputs
from services.inference_worker.ports import Clip, Moment, Report, Stop


class StableVideoDiffusionEngine:
    """Drives a diffusers `StableVideoDiffusionPipeline`, one clip at a time.

    Denoises through the pipeline and decodes by itself, so that decoding can be followed and left.
    """

    def __init__(self, pipeline: Any, device: torch.device, shares: Mapping[Phase, float]) -> None:
        self._pipeline = pipeline
        self._device = device
        self._vae_dtype = pipeline.vae.dtype
        # Each level but the last halves the latents, and each halving must come out even.
        self._granularity = pipeline.vae_scale_factor * 2 ** (len(pipeline.unet.config.block_out_channels) - 1)
        self.shares = shares

    def render(self, inputs: Mapping[str, object], report: Report, stop: Stop) -> Clip:
        """Make a clip of the inputs that `StableVideoInputs` describes."""
        wanted = StableVideoInputs.read(inputs)
        self._check_size(wanted)
        report(Moment(Phase.ENCODING, 0.0, message="encoding the image"))
        image, notes = read_image(wanted.image, width=wanted.width, height=wanted.height)
        try:
            with device_errors(self._device), torch.no_grad(), own_global_noise(wanted.seed, self._device):
                latents = self._denoised(wanted, image, report, stop)
                refuse_degenerate(latents)
                return Clip(self._decoded(latents, wanted, report, stop), wanted.fps, notes)
        finally:
            # The pipeline lifts an fp16 VAE to fp32 while it encodes; leaving it there would double the next decode.
            if self._pipeline.vae.dtype != self._vae_dtype:
                self._pipeline.vae.to(dtype=self._vae_dtype)

    def _denoised(self, wanted: StableVideoInputs, image: Any, report: Report, stop: Stop) -> torch.Tensor:
        """Latents of shape (1, frames, channels, height / factor, width / factor)."""
        steps = Steps(wanted.num_inference_steps, report)
        with watched(self._pipeline.unet, steps, stop), without_known_warnings():
            return self._pipeline(
                image=image,
                width=wanted.width,
                height=wanted.height,
                num_frames=wanted.num_frames,
                num_inference_steps=wanted.num_inference_steps,
                min_guidance_scale=wanted.min_guidance_scale,
                max_guidance_scale=wanted.max_guidance_scale,
                fps=wanted.fps,
                motion_bucket_id=wanted.motion_bucket_id,
                noise_aug_strength=wanted.noise_aug_strength,
                decode_chunk_size=wanted.decode_chunk_size,
                # A generator of the CPU starts from the same noise on every device.
                generator=torch.Generator("cpu").manual_seed(wanted.seed),
                output_type="latent",
                callback_on_step_end=after_step(steps, stop, lambda: finish(self._device)),
            ).frames

    def _decoded(
        self, latents: torch.Tensor, wanted: StableVideoInputs, report: Report, stop: Stop
    ) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Frames of shape (frames, height, width, 3). The VAE mixes the frames of a chunk, so its size shows."""
        vae = self._pipeline.vae
        scaled = latents.flatten(0, 1).to(vae.dtype) / vae.config.scaling_factor
        frames = np.empty((wanted.num_frames, wanted.height, wanted.width, 3), dtype=np.uint8)
        report(Moment(Phase.DECODING, 0.0, message="decoding begins"))
        for start in range(0, wanted.num_frames, wanted.decode_chunk_size):
            stop.check()
            chunk = scaled[start : start + wanted.decode_chunk_size]
            pixels = to_uint8(vae.decode(chunk, num_frames=len(chunk)).sample)
            done = start + len(chunk)
            frames[start:done] = pixels.permute(0, 2, 3, 1).cpu().numpy()
            share = done / wanted.num_frames
            report(Moment(Phase.DECODING, share, message=f"decoded {done} of {wanted.num_frames} frames"))
        stop.check()
        return frames

    def _check_size(self, wanted: StableVideoInputs) -> None:
        wrong = [
            Violation(field, f"must be a multiple of {self._granularity}")
            for field, value in (("width", wanted.width), ("height", wanted.height))
            if value % self._granularity
        ]
        if wrong:
            raise InvalidInput(wrong)
