"""Trains the transformers of text to video: diffusion forcing, where each latent frame has a noise level of its own."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from models_demo.architectures import VIDEO_CHANNELS, skyreels_transformer, tokenizer
from models_demo.captions import caption
from models_demo.training.cells import Size
from models_demo.training.course import Course
from models_demo.training.forward import Texts, embedded, predicted, timesteps
from models_demo.training.noise import Moments, any_block, known_frames, noise_levels, noised
from models_demo.training.own_way import Journey, OwnWay
from models_demo.training.sketches import CHANNELS_OF, Sketches, Window
from models_demo.training.text import any_scene
from models_demo.world import Combination, Scene, half_way_at, way_of

_UNTOLD = 0.1
_ASTRAY, _TOWARDS, _AWAY = 0.6, -1.0, 6.0
"""How many videos are led astray, and how far at most: to what is not told, or times as far away from it. With a
guidance of 6 the first steps go five times too far."""
_OWN, _JOURNEYS, _AT_ONCE = 0.5, 24, 3
"""How many steps are of moments on the way that guidance takes with the model as it is; how many journeys are under
way, and of how many of them a step is."""
_WITHOUT = 0.2
"""The share of steps before any of those: first the model has to have a way."""
_OTHERS = 3
"""So many scenes stand for what is not told."""
_RATE, _MATRICES = 3e-3, 12e-3


@dataclass(frozen=True)
class Stage:
    """Some steps on videos of the same few sizes: (latent frames, rows, columns) of latents."""

    until: int
    tokens: int
    """About how many a step has."""
    sizes: Sequence[Size]


# Small views first: they show as much of a shape, the difficult part, as large ones. Some larger ones tell how far a
# view may reach.
_SMALL = ((5, 6, 8), (7, 6, 6), (4, 8, 8), (6, 4, 8), (5, 6, 10), (8, 4, 6))
_MIDDLE = ((7, 10, 16), (9, 8, 14), (7, 12, 14), (13, 8, 10), (5, 12, 20), (7, 6, 10))
_LARGE = ((13, 18, 30), (25, 10, 16), (21, 16, 26), (25, 18, 30), (9, 18, 30), (7, 10, 16))
_STAGES = (
    Stage(20000, 1920, (*_SMALL, *_SMALL, *_MIDDLE)),
    Stage(21800, 2240, (*_MIDDLE, *_MIDDLE, (5, 6, 8), (7, 6, 6), (13, 10, 16), (9, 16, 18))),
    Stage(22800, 4000, (*_LARGE, *_MIDDLE)),
)


def train_transformer(folder: Path, share: float, sketches: Sketches, text_encoder: Any) -> Any:
    """The transformer of SkyReels-V2, trained for a share of its steps."""
    torch.manual_seed(0)
    model = skyreels_transformer()
    torch.nn.init.zeros_(model.proj_out.weight)
    steps = round(_STAGES[-1].until * share)
    course = Course("text_to_video", folder, model, steps=steps, rate=_RATE, matrices=_MATRICES, is_inner=_is_inner)
    embed = partial(embedded, text_encoder, tokenizer())
    own_way, matter = OwnWay(model, sketches, embed), matters()

    def loss(step: int, dice: random.Random) -> torch.Tensor:
        stage = next(stage for stage in _STAGES if step < stage.until * share)
        if step >= _WITHOUT * steps and dice.random() < _OWN:
            journeys: list[Journey] = course.kept.setdefault("journeys", [])
            while len(journeys) < _JOURNEYS:
                size = dice.choice(stage.sizes)
                videos = max(1, stage.tokens // _AT_ONCE // 2 // _tokens(size))
                journeys.append(own_way.begun(size, videos, dice))
            total = sum((own_way.loss(journey, matter) for journey in journeys[:_AT_ONCE]), torch.zeros(()))
            under_way = [journey for journey in journeys[:_AT_ONCE] if not journey.is_over]
            journeys[:] = [*journeys[_AT_ONCE:], *under_way]
            return total / _AT_ONCE
        size = dice.choice(stage.sizes)
        videos = max(1, stage.tokens // _tokens(size))
        block = any_block(dice)
        known = known_frames(size[0], block, dice)
        latents, guided, texts = batch(sketches, videos, Window.of(size, known, dice), dice)
        levels = torch.stack([noise_levels(size[0], block, known, dice) for _ in texts])
        astray = torch.empty(videos, 1, 1, 1, 1).uniform_(_TOWARDS, _AWAY) * (torch.rand(videos, 1, 1, 1, 1) < _ASTRAY)
        slow = torch.rand(videos) < 0.3
        return forcing_loss(
            model, noised(latents, guided * astray, levels), embed(texts), slow=slow, block=block, matter=matter
        )

    course.finish(loss)
    return course.model


def _is_inner(name: str) -> bool:
    return name.startswith("blocks.") and name.endswith("weight") and "norm" not in name


def batch(
    sketches: Sketches, videos: int, window: Window, dice: random.Random
) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Latents of scenes, (videos, channels, frames, rows, columns), where guidance drives them, what is said of them.

    Guidance drives from what any scenes are like to what those are like of which the text tells: in the first steps,
    wherever their shapes are, and once that is seen, with the shape at half time where it is.
    """
    scenes, told, others, texts = [], [], [], []
    for _ in range(videos):
        combination = any_scene(dice)
        scenes.append(window.scene(combination, dice))
        is_seen = dice.random() < 0.5
        for _ in range(_OTHERS):
            told.append(scenes[-1] if is_seen else window.scene(combination, dice))
            others.append(_elsewhere(told[-1], any_scene(dice), window.half_way))
        texts.append("" if dice.random() < _UNTOLD else caption(combination, dice)[0])
    latents = window.latents(sketches, scenes + told + others)
    driven = (latents[videos : -len(others)] - latents[-len(others) :]).unflatten(0, (videos, _OTHERS)).mean(dim=1)
    return latents[:videos], driven, texts


def _elsewhere(scene: Scene, what: Combination, half_way: float) -> Scene:
    """Another scene that has its shape half way through in the same place."""
    to_right, to_bottom = way_of(scene.combination)
    return half_way_at(what, scene.x + half_way * to_right, scene.y + half_way * to_bottom, half_way)


def matters() -> torch.Tensor:
    """How much mistakes in each channel matter: (channels, 1, 1, 1).

    What is slow shows in small numbers; and only that for the pattern tells a pan from a shape that moves.
    """
    each = torch.ones(VIDEO_CHANNELS, 1, 1, 1)
    each[CHANNELS_OF.pattern] = 6
    each[CHANNELS_OF.stripes] = 3
    each[CHANNELS_OF.edges] = 3
    each[CHANNELS_OF.way] = 4
    each[CHANNELS_OF.growth] = 8
    each[CHANNELS_OF.radius] = 4
    return each


def forcing_loss(
    model: Any, moments: Moments, texts: Texts, *, slow: torch.Tensor, block: int | None, matter: torch.Tensor
) -> torch.Tensor:
    """How far the model is from the way between latents and noise; frames without noise do not count."""
    found = predicted(model, moments.latents, timesteps(moments.levels), texts, slow=slow, block=block)
    wrong = (found - moments.wanted).square().mean(dim=(3, 4), keepdim=True)
    counts = moments.counts * matter
    return (wrong * counts).sum() / counts.sum().clamp(min=1)


def _tokens(size: Size) -> int:
    frames, rows, columns = size
    return frames * rows * columns // 4
