"""Stable Video Diffusion's denoising: Euler steps through the UNet, with guidance that grows from frame to frame."""

from dataclasses import replace
from typing import Any

import torch

from services.inference_worker.adapters.engines.device import without_known_warnings
from services.inference_worker.adapters.engines.libraries import diffusers
from services.inference_worker.adapters.engines.stable_video.start import Start
from services.inference_worker.domain.errors import WeightsUnavailable
from services.inference_worker.domain.inputs.stable_video import StableVideoInputs


def refuse_unknown_scheduler(scheduler: Any) -> None:
    """Raise WeightsUnavailable for a scheduler other than the one whose steps are computed here."""
    if not isinstance(scheduler, diffusers.EulerDiscreteScheduler) or (
        scheduler.config.prediction_type != "v_prediction"
    ):
        raise WeightsUnavailable("the weights ask for a scheduler other than Euler's with v-prediction")


class Schedule:
    """All that the Euler scheduler's steps take, as plain numbers: nothing has to come back from the device."""

    def __init__(self, scheduler: Any, num_steps: int, device: torch.device) -> None:
        with without_known_warnings():
            scheduler.set_timesteps(num_steps, device="cpu")
        self.timesteps = scheduler.timesteps.to(device)
        self.start_scale = float(scheduler.init_noise_sigma)
        sigmas: torch.Tensor = scheduler.sigmas
        powers = sigmas**2 + 1
        # Computed in fp32, as the scheduler does, and only then made plain: not a bit changes.
        self._sigmas, self._changes = sigmas.tolist(), sigmas.diff().tolist()
        self._powers, self._input_scales = powers.tolist(), (powers**0.5).tolist()
        self._output_scales = (-sigmas / powers**0.5).tolist()

    def __len__(self) -> int:
        return len(self.timesteps)

    def scaled(self, latents: torch.Tensor, step: int) -> torch.Tensor:
        """Latents as the UNet takes them."""
        return latents / self._input_scales[step]

    def expected(self, latents: torch.Tensor, output: torch.Tensor, step: int) -> torch.Tensor:
        """The finished latents that the UNet's output foretells, in fp32."""
        return output * self._output_scales[step] + latents.float() / self._powers[step]

    def next(self, latents: torch.Tensor, expected: torch.Tensor, step: int) -> torch.Tensor:
        """The latents after the step, in the dtype of `latents`."""
        before = latents.float()
        after = before + (before - expected) / self._sigmas[step] * self._changes[step]
        return after.to(latents.dtype)


class Denoising:
    """One video under way."""

    def __init__(self, unet: Any, schedule: Schedule, start: Start, wanted: StableVideoInputs) -> None:
        self._unet = unet
        self._schedule = schedule
        self._now = start
        self._expected = start.latents
        self._is_guided = wanted.is_guided
        frames = wanted.num_frames
        scales = torch.linspace(wanted.min_guidance_scale, wanted.max_guidance_scale, frames)
        self._scales = scales.to(start.latents.device, start.latents.dtype).view(1, frames, 1, 1, 1)
        self._embedding = self._for_each_branch(start.embedding)
        self._image_latents = self._for_each_branch(start.image_latents)[:, None].expand(-1, frames, -1, -1, -1)
        # The UNet was trained to be told one frame less per second than it makes.
        told = [wanted.fps - 1, wanted.motion_bucket_id, wanted.noise_aug_strength]
        time_ids = torch.tensor([told], dtype=start.embedding.dtype).to(start.embedding.device)
        self._time_ids = time_ids.expand(len(self._embedding), -1)

    @property
    def now(self) -> Start:
        """How far it is: from here it can be started again."""
        return self._now

    @property
    def is_done(self) -> bool:
        """Whether all steps are done."""
        return self._now.done == len(self._schedule)

    def step(self) -> None:
        """Give the next step to the device. Nothing waits for it."""
        latents, done = self._now.latents, self._now.done
        scaled = self._schedule.scaled(latents, done).expand(len(self._embedding), -1, -1, -1, -1)
        output = self._unet(
            torch.cat([scaled, self._image_latents], dim=2),
            self._schedule.timesteps[done],
            encoder_hidden_states=self._embedding,
            added_time_ids=self._time_ids,
            return_dict=False,
        )[0]
        if self._is_guided:
            without_image, with_image = output.chunk(2)
            output = without_image + self._scales * (with_image - without_image)
        self._expected = self._schedule.expected(latents, output, done)
        self._now = replace(self._now, latents=self._schedule.next(latents, self._expected, done), done=done + 1)

    def expected_middle(self) -> torch.Tensor:
        """What the frame in the middle is expected to become: shape (channels, h, w)."""
        return self._expected[0, self._expected.shape[1] // 2]

    def _for_each_branch(self, tensor: torch.Tensor) -> torch.Tensor:
        """What each branch of guidance is told: the one without the image, of zeros."""
        return torch.cat([torch.zeros_like(tensor), tensor]) if self._is_guided else tensor
