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
from models_demo.training.sketches import CHANNELS_OF, VIDEO_FRAMES, Sketches, pictures_of, places
from models_demo.training.text import any_scene
from models_demo.world import SIZES, Combination, Scene, half_way_at, way_of

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
        passed, foretold = self._led(whats, size, levels, slow, block)
        chosen = torch.tensor(dice.sample(range(len(passed)), min(count, len(passed))))
        which = chosen % videos
        # Where the shape is, the model is to say itself, of each moment: were it where the video ends up, a model that
        # moves it on its way would learn to move it more, until it is out of sight.
        scenes = scenes_in(foretold[chosen], [whats[video] for video in which.tolist()])
        right = self.sketches.of_scenes(scenes, *pictures_of(size))
        latents = passed[chosen]
        noise = torch.stack(list(levels[:-1])).repeat_interleave(videos, dim=0)[chosen]
        share = noise[:, None, :, None, None]
        counts = (share / _FULL).clamp(max=1).square().repeat(1, latents.shape[1], 1, 1, 1)
        for part in _PLACED:
            counts[:, part] *= share <= _UNSEEN
        texts = ["" if dice.random() < _UNTOLD else sentence(whats[video]) for video in which.tolist()]
        moments = Moments(latents, noise, (latents - right) / share.clamp(min=1e-3), counts)
        return moments, texts, slow[which]

    @torch.no_grad()
    def _led(
        self,
        whats: Sequence[Combination],
        size: Size,
        levels: Sequence[torch.Tensor],
        slow: torch.Tensor,
        block: int | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The latents of all videos before each step, one step after the other, and what the model foretells, told."""
        videos = len(whats)
        texts = self.embed([*map(sentence, whats), *[""] * videos])
        guidance = torch.empty(videos, 1, 1, 1, 1).uniform_(*_GUIDANCE)
        latents = torch.randn(videos, CHANNELS_OF.growth.stop, *size)
        passed, foretold = list[torch.Tensor](), list[torch.Tensor]()
        for now, then in pairwise(levels):
            twice, moments = latents.repeat(2, 1, 1, 1, 1), timesteps(now).expand(2 * videos, -1)
            told, untold = predicted(self.model, twice, moments, texts, slow=slow.repeat(2), block=block).chunk(2)
            passed.append(latents)
            foretold.append(latents - now[:, None, None] * told)
            latents = latents + (then - now)[:, None, None] * (untold + guidance * (told - untold))
        return torch.cat(passed), torch.cat(foretold)


def scenes_in(latents: torch.Tensor, whats: Sequence[Combination]) -> list[Scene]:
    """Scenes of what was asked for, with the shapes half way through where latents have them, if that is in sight."""
    half_way, found = VIDEO_FRAMES * (latents.shape[2] - 1) / 2, list[Scene]()
    for what, place in zip(whats, places(latents), strict=True):
        x, y = (
            _inside(along, CELL * cells, SIZES[what.size] + abs(way) * half_way)
            for along, cells, way in zip(place, latents.shape[:2:-1], way_of(what), strict=True)
        )
        found.append(half_way_at(what, x, y, half_way))
    return found


def _inside(place: float, length: int, reach: float) -> float:
    """The nearest place in a view of this length that is so far from its edges, or not far from its middle."""
    edge = min(reach, 0.3 * length)
    return min(max(place, edge), length - edge)
