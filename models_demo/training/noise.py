"""How much noise each latent frame has on the ways of denoising, and latents with it."""

import random
from dataclasses import dataclass
from typing import Any

import torch

_SHIFT = 3.0


@dataclass(frozen=True)
class Moments:
    """Latents on their way, (moments, channels, frames, rows, columns), and what is known of them."""

    latents: torch.Tensor
    levels: torch.Tensor
    """Of noise: (moments, frames)."""
    wanted: torch.Tensor
    """The way between the right latents and noise, shaped as they are."""
    counts: torch.Tensor
    """How much it is to be learnt, 0…1: (moments, channels, frames, 1, 1)."""


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


def shifted(level: Any) -> Any:
    """Shares of noise, a number or a tensor, as schedulers with a flow shift space their steps."""
    return _SHIFT * level / (1 + (_SHIFT - 1) * level)


def _any_level(dice: random.Random) -> float:
    level = dice.random()
    return shifted(level) if dice.random() < 0.6 else level


def staircase(frames: int, steps: int, block: int | None = None, lag: float = 0.0) -> list[torch.Tensor]:
    """The noise in each latent frame before each step and after the last: later blocks are behind the earlier ones."""
    behind = torch.arange(frames) // (block or frames) * lag
    end = 1 + float(behind[-1])
    return [shifted((1 + behind - end * step / steps).clamp(0, 1)) for step in range(steps + 1)]


def noised(latents: torch.Tensor, astray: torch.Tensor, levels: torch.Tensor) -> Moments:
    """Latents with these shares of noise in their frames.

    They are `astray` of the right ones, the more so the more noise there is: guidance takes them too far from what is
    not told, above all in the first steps.
    """
    noise = torch.randn_like(latents)
    share = levels[:, None, :, None, None]
    wanted = noise - latents + share * (1 - share) * astray
    counts = (share > 0).to(latents.dtype).expand(-1, latents.shape[1], -1, -1, -1)
    return Moments(latents + share * wanted, levels, wanted, counts)
