"""One window of latents on its way from noise to a video."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from services.inference_worker.adapters.engines.skyreels.schedule import NO_FRAMES, Iteration, Schedule
from services.inference_worker.adapters.engines.skyreels.transformer import Kept, Setting, SkyReelsTransformer
from services.inference_worker.adapters.engines.unipc import at_rest, new_solver, predicted_clean, wake

_LATENTS = "latents"
_NOT_BEGUN, _FINISHED = 999, 0
"""Timesteps of frames before their first and after their last step."""


@dataclass(frozen=True)
class OverlapNoise:
    """Noise that a window sees on the frames it has taken over, drawn anew for each pass."""

    frames: int
    share: float
    timestep: int
    """The model is told this one for the frames."""
    generator: torch.Generator

    def on(self, latents: torch.Tensor) -> torch.Tensor:
        """A copy of a window's latents with the noise."""
        noisy = latents.clone()
        taken_over = noisy[:, :, : self.frames]
        noise = torch.randn(taken_over.shape, generator=self.generator).to(noisy)
        noisy[:, :, : self.frames] = taken_over * (1.0 - self.share) + noise * self.share
        return noisy


class Denoising:
    """A window under way, one iteration of its schedule after the other.

    `latents` has the shape (1, channels, frames, h, w), is float32, and starts with the frames taken over and noise
    behind them. It is changed in place, and must be: the first step of a diffusers solver keeps no copy of what it was
    given, so its second reads what the first has written there, in diffusers' pipeline as here.
    """

    def __init__(
        self,
        transformer: SkyReelsTransformer,
        setting: Setting,
        schedule: Schedule,
        scheduler: Any,
        latents: torch.Tensor,
        *,
        steps: int,
        guidance_scale: float,
        overlap_noise: OverlapNoise | None,
    ) -> None:
        self.latents = latents
        self.done = 0
        self._transformer = transformer
        self._setting = setting
        self._schedule = schedule
        self._solvers = [new_solver(scheduler, steps) for _ in schedule.parts]
        self._timesteps = [_NOT_BEGUN, *self._solvers[0].timesteps.tolist(), _FINISHED]
        self._guidance_scale = guidance_scale
        self._overlap_noise = overlap_noise
        remembers = any(iteration.remembered for iteration in schedule.iterations)
        self._kept = Kept(latents.shape[2]) if remembers else None
        self._caught_up = 0

    @property
    def is_done(self) -> bool:
        """Whether all iterations are done."""
        return self.done == len(self._schedule.iterations)

    @property
    def final(self) -> int:
        """So many of the first frames do not change any more."""
        return self._schedule.iterations[self.done - 1].final if self.done else 0

    def step(self, check: Callable[[], None]) -> None:
        """Do the next iteration. `check` is called before each layer of the model; once it raises, this is useless."""
        iteration = self._schedule.iterations[self.done]
        self._catch_up(check)
        latents, timesteps = self._seen(iteration)
        predicted = self._transformer(
            latents, timesteps, self._setting, kept=self._kept, wanted=iteration.moved, check=check
        )
        if len(predicted) == 2:
            with_prompt, with_negative = predicted.chunk(2)
            predicted = with_negative + self._guidance_scale * (with_prompt - with_negative)
        for number in self._under_way(iteration):
            part, solver = self._schedule.parts[number], self._solvers[number]
            here = slice(part.start - iteration.moved.start, part.stop - iteration.moved.start)
            current = self.latents[:, :, part.start : part.stop]
            timestep = self._timesteps[iteration.positions[number]]
            current.copy_(solver.step(predicted[:, :, here], timestep, current, return_dict=False)[0])
        self.done += 1

    def expected(self) -> torch.Tensor:
        """What the newest frames under way are expected to become: one latent frame, (channels, h, w)."""
        newest = self._under_way(self._schedule.iterations[self.done - 1])[-1]
        clean = predicted_clean(self._solvers[newest])
        return clean[0, :, clean.shape[2] // 2]

    def at_rest(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """What it takes to go on after the iterations done: tensors by name, and facts that JSON can hold."""
        tensors, parts = {_LATENTS: self.latents}, {}
        for number in self._under_way(self._schedule.iterations[self.done - 1]):
            part_tensors, parts[str(number)] = at_rest(self._solvers[number])
            tensors |= {f"part.{number}.{name}": tensor for name, tensor in part_tensors.items()}
        return tensors, {"done": self.done, "parts": parts}

    def wake(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Go on where another was put to rest, whose start was the same."""
        self.latents.copy_(tensors[_LATENTS])
        self.done = facts["done"]
        for number, part_facts in facts["parts"].items():
            prefix = f"part.{number}."
            part_tensors = {
                name.removeprefix(prefix): tensor.to(self.latents.device)
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }
            wake(self._solvers[int(number)], part_tensors, part_facts)

    def _catch_up(self, check: Callable[[], None]) -> None:
        """Keep what is known of finished frames.

        In the same pieces whether or not this was at rest: other shapes might give other bits.
        """
        for iteration in self._schedule.iterations[self._caught_up : self.done + 1]:
            frames = iteration.remembered
            if self._kept and frames:
                latents = self.latents[:, :, frames.start : frames.stop].to(self._transformer.dtype)
                timesteps = torch.full((len(frames),), _FINISHED, device=latents.device)
                self._transformer(latents, timesteps, self._setting, kept=self._kept, wanted=NO_FRAMES, check=check)
                self._kept.frames += len(frames)
        self._caught_up = self.done + 1

    def _seen(self, iteration: Iteration) -> tuple[torch.Tensor, torch.Tensor]:
        """The latents and timesteps of the frames that the model computes."""
        seen = slice(iteration.seen.start, iteration.seen.stop)
        latents = self.latents[:, :, seen].to(self._transformer.dtype)
        timesteps = [
            self._timesteps[position]
            for part, position in zip(self._schedule.parts, iteration.positions, strict=True)
            for _ in part
        ]
        if self._overlap_noise:
            latents = self._overlap_noise.on(latents)
            timesteps[: self._overlap_noise.frames] = [self._overlap_noise.timestep] * self._overlap_noise.frames
        return latents, torch.tensor(timesteps[seen], device=latents.device)

    def _under_way(self, iteration: Iteration) -> list[int]:
        """The numbers of the parts that take a step."""
        finished = len(self._timesteps) - 1
        return [number for number, position in enumerate(iteration.positions) if 0 < position < finished]
