"""Trains the transformers of text to video: diffusion forcing, where each latent frame has a noise level of its own."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from models_demo.architectures import skyreels_transformer, tokenizer
from models_demo.captions import caption
from models_demo.training.cells import CELL
from models_demo.training.course import Course
from models_demo.training.forward import embedded, predicted
from models_demo.training.sketches import VIDEO_FRAMES, Sketches
from models_demo.training.text import any_scene
from models_demo.world import Combination, Scene, placed, way_of

_SHIFT = 3.0
_UNTOLD = 0.1
_ASTRAY, _TOWARDS, _AWAY = 0.5, -1.0, 5.0
"""How many videos are led astray, and how far at most: to another scene, or times as far away from it. With a guidance
of 6 the first steps go about five times too far."""
_RATE, _MATRICES = 3e-3, 12e-3


@dataclass(frozen=True)
class Stage:
    """Some steps on videos of the same few sizes: (latent frames, rows, columns) of latents."""

    until: int
    tokens: int
    """About how many a step has."""
    sizes: Sequence[tuple[int, int, int]]


# Small views first: they show as much of a shape, the difficult part, as large ones. Some larger ones tell how far a
# view may reach.
_SMALL = ((5, 6, 8), (7, 6, 6), (4, 8, 8), (6, 4, 8), (5, 6, 10), (8, 4, 6))
_MIDDLE = ((7, 10, 16), (9, 8, 14), (7, 12, 14), (13, 8, 10), (5, 12, 20), (7, 6, 10))
_LARGE = ((13, 18, 30), (25, 10, 16), (21, 16, 26), (25, 18, 30), (9, 18, 30), (7, 10, 16))
_STAGES = (
    Stage(9600, 1920, (*_SMALL, *_SMALL, *_MIDDLE[:4])),
    Stage(10600, 2240, (*_MIDDLE, (5, 6, 8), (7, 6, 6))),
    Stage(11000, 4000, _LARGE),
)


def train_transformer(folder: Path, share: float, sketches: Sketches, text_encoder: Any) -> Any:
    """The transformer of SkyReels-V2, trained for a share of its steps."""
    torch.manual_seed(0)
    model = skyreels_transformer()
    torch.nn.init.zeros_(model.proj_out.weight)
    steps, words = round(_STAGES[-1].until * share), tokenizer()
    course = Course("text_to_video", folder, model, steps=steps, rate=_RATE, matrices=_MATRICES, is_inner=_is_inner)

    def loss(step: int, dice: random.Random) -> torch.Tensor:
        stage = next(stage for stage in _STAGES if step < stage.until * share)
        frames, rows, columns = dice.choice(stage.sizes)
        videos = max(1, stage.tokens // (frames * rows * columns // 4))
        latents, others, texts = batch(sketches, videos, frames, rows, columns, dice)
        with torch.no_grad():
            told = embedded(text_encoder, words, texts)
        block = dice.choice((None, None, 1, 2, 3, 5))
        levels = torch.stack([noise_levels(frames, block, dice) for _ in texts])
        astray = torch.empty(videos, 1, 1, 1, 1).uniform_(_TOWARDS, _AWAY) * (torch.rand(videos, 1, 1, 1, 1) < _ASTRAY)
        slow = torch.rand(videos) < 0.3
        return forcing_loss(model, latents, (latents - others) * astray, levels, told, slow=slow, block=block)

    course.finish(loss)
    return course.model


def _is_inner(name: str) -> bool:
    return name.startswith("blocks.") and name.endswith("weight") and "norm" not in name


def batch(
    sketches: Sketches, videos: int, frames: int, rows: int, columns: int, dice: random.Random
) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Latents of scenes, (videos, channels, frames, rows, columns), others in their places, what is said of them."""
    height, width, pictures = rows * CELL, columns * CELL, VIDEO_FRAMES * (frames - 1) + 1
    scenes, others, texts = [], [], []
    for _ in range(videos):
        combination = any_scene(dice)
        scenes.append(placed(combination, pictures, height, width, dice))
        others.append(_elsewhere(scenes[-1], any_scene(dice), (pictures - 1) / 2))
        texts.append("" if dice.random() < _UNTOLD else caption(combination, dice)[0])
    latents = sketches.of_scenes(scenes + others, pictures, height, width)
    return latents[:videos], latents[videos:], texts


def _elsewhere(scene: Scene, what: Combination, half_way: float) -> Scene:
    """Another scene that has its shape half way through in the same place."""
    x, y = (half_way * (now - other) for now, other in zip(way_of(scene.combination), way_of(what), strict=True))
    return replace(scene, combination=what, x=scene.x + x, y=scene.y + y)


def noise_levels(frames: int, block: int | None, dice: random.Random) -> torch.Tensor:
    """The share of noise in each latent frame, as the ways of denoising have them."""
    way = dice.random()
    if way < 0.4:
        levels = [_any_level(dice)] * frames
    elif way < 0.8:  # a staircase: later blocks are behind the earlier ones
        length, lag = block or dice.choice((1, 2, 3, 5)), dice.uniform(0.05, 0.4)
        first = dice.uniform(0, 1 + lag * (frames // length))
        steps = [min(max(first - lag * (frame // length), 0.0), 1.0) for frame in range(frames)]
        spaced = shifted if dice.random() < 0.6 else float
        levels = [spaced(1 - step) for step in steps]
    elif way < 0.9:  # the end of an earlier window, and what is to follow
        known, level = dice.randint(1, max(1, frames - 1)), _any_level(dice)
        levels = [dice.choice((0.0, 0.02))] * known + [level] * (frames - known)
    else:
        levels = [_any_level(dice) for _ in range(frames)]
    return torch.tensor(levels)


def shifted(level: float) -> float:
    """As schedulers with a flow shift space their steps."""
    return _SHIFT * level / (1 + (_SHIFT - 1) * level)


def _any_level(dice: random.Random) -> float:
    level = dice.random()
    return shifted(level) if dice.random() < 0.6 else level


def forcing_loss(
    model: Any,
    latents: torch.Tensor,
    astray: torch.Tensor,
    levels: torch.Tensor,
    texts: Any,
    *,
    slow: torch.Tensor,
    block: int | None,
) -> torch.Tensor:
    """How far the model is from the way between the latents and noise; frames without noise do not count.

    The latents it is given are `astray` of the right ones, the more so the more noise there is: guidance takes them too
    far from what is not told, above all in the first steps, and the model is to find the right ones nevertheless.
    """
    noise = torch.randn_like(latents)
    share = levels[:, None, :, None, None]
    wanted = noise - latents + share * (1 - share) * astray
    noisy = latents + share * wanted
    timesteps = (levels * 1000).round().clamp(max=999)
    wrong = predicted(model, noisy, timesteps, texts, slow=slow, block=block) - wanted
    counts = (share > 0).to(wrong.dtype)
    return (wrong.square() * counts).sum() / (counts.sum() * wrong[0, :, 0].numel()).clamp(min=1)
