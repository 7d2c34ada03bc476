"""What guidance makes of noise with the transformer as it is, and what it should have made of it.

Each of its steps goes several times as far as the model says, so that latents are soon like none that come of adding
noise. From where it gets by itself the model learns the way back (DAgger: Ross, Gordon and Bagnell, AISTATS 2011).
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from models_demo.captions import sentence
from models_demo.training.cells import CELL, Size
from models_demo.training.forward import Texts, predicted, timesteps
from models_demo.training.noise import Moments
from models_demo.training.sketches import CHANNELS_OF, VIDEO_FRAMES, Sketches, places
from models_demo.training.text import any_scene
from models_demo.world import Combination, Scene, half_way_at

_GUIDANCE = (1.0, 8.0)
_UNTOLD = 0.3
_UNSEEN = 0.93
"""With more noise nobody can say where the shape is."""
_FULL = 0.5
"""With less noise moments count less: the same mistake is a larger one in the way between latents and noise."""
_PLACED = (CHANNELS_OF.stripes, CHANNELS_OF.place, CHANNELS_OF.offsets, CHANNELS_OF.edges)


@dataclass(frozen=True)
class OwnWay:
    """Makes latents as renders do, with a model that may be in training."""

    model: Any
    sketches: Sketches
    embed: Callable[[list[str]], Texts]

    def moments(
        self, size: Size, count: int, levels: Sequence[torch.Tensor], block: int | None, dice: random.Random
    ) -> tuple[Moments, list[str], torch.Tensor]:
        """So many of them, what the model is told in each, and which have 16 frames a second.

        `levels` are those of the frames before each step and after the last.
        """
        videos = max(1, count // (len(levels) - 1))
        whats = [any_scene(dice) for _ in range(videos)]
        slow = torch.rand(videos) < 0.3
        *passed, made = self._led(whats, size, levels, slow, block)
        right = self.sketches.of_scenes(_scenes(whats, made), *_pictures(size))
        chosen = torch.tensor(dice.sample(range(videos * len(passed)), min(count, videos * len(passed))))
        which = chosen % videos
        latents = torch.cat(passed)[chosen]
        noise = torch.stack([*levels[:-1]]).repeat_interleave(videos, dim=0)[chosen]
        share = noise[:, None, :, None, None]
        counts = (share / _FULL).clamp(max=1).square().repeat(1, latents.shape[1], 1, 1, 1)
        for part in _PLACED:
            counts[:, part] *= share <= _UNSEEN
        texts = ["" if dice.random() < _UNTOLD else sentence(whats[video]) for video in which.tolist()]
        moments = Moments(latents, noise, (latents - right[which]) / share.clamp(min=1e-3), counts)
        return moments, texts, slow[which]

    def videos(
        self, size: Size, count: int, levels: Sequence[torch.Tensor], dice: random.Random
    ) -> tuple[torch.Tensor, list[Scene]]:
        """Latents of so many, (videos, channels, frames, rows, columns), and the scenes that they should be."""
        whats = [any_scene(dice) for _ in range(count)]
        made = self._led(whats, size, levels, torch.rand(count) < 0.3, None)[-1]
        return made, _scenes(whats, made)

    @torch.no_grad()
    def _led(
        self,
        whats: Sequence[Combination],
        size: Size,
        levels: Sequence[torch.Tensor],
        slow: torch.Tensor,
        block: int | None,
    ) -> list[torch.Tensor]:
        """The latents before each step and after the last."""
        videos = len(whats)
        texts = self.embed([*map(sentence, whats), *[""] * videos])
        guidance = torch.empty(videos, 1, 1, 1, 1).uniform_(*_GUIDANCE)
        passed = [torch.randn(videos, CHANNELS_OF.growth.stop, *size)]
        for now, then in pairwise(levels):
            latents, moments = passed[-1].repeat(2, 1, 1, 1, 1), timesteps(now).expand(2 * videos, -1)
            both = predicted(self.model, latents, moments, texts, slow=slow.repeat(2), block=block)
            told, untold = both.chunk(2)
            passed.append(passed[-1] + (then - now)[:, None, None] * (untold + guidance * (told - untold)))
        return passed


def _scenes(whats: Sequence[Combination], latents: torch.Tensor) -> list[Scene]:
    """Scenes of what was asked for, with the shapes half way through where latents have them."""
    half_way = VIDEO_FRAMES * (latents.shape[2] - 1) / 2
    return [half_way_at(what, x, y, half_way) for what, (x, y) in zip(whats, places(latents), strict=True)]


def _pictures(size: Size) -> tuple[int, int, int]:
    """How many frames, and how high and wide they are."""
    frames, rows, columns = size
    return VIDEO_FRAMES * (frames - 1) + 1, rows * CELL, columns * CELL
