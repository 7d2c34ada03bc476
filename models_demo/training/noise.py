"""How much noise each latent frame has on the ways of denoising, and latents with it."""

import random
from dataclasses import dataclass
from typing import Any

import torch

SHIFT = 3.0
_CONTINUED = 0.2
BARELY = 0.02
"""The share of noise that may be added to frames that are known."""


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


def any_block(dice: random.Random) -> int | None:
    """How many latent frames a block has, of which later ones see earlier ones only; None if all frames see all."""
    return dice.choice((None, None, 1, 2, 3, 5))


def known_frames(frames: int, block: int | None, dice: random.Random) -> int:
    """How many latent frames are the end of an earlier window: mostly none, otherwise whole blocks."""
    known = dice.randint(1, frames - 1) if dice.random() < _CONTINUED else 0
    return known - known % (block or 1)


def noise_levels(frames: int, block: int | None, known: int, dice: random.Random) -> torch.Tensor:
    """The share of noise in each latent frame, as the ways of denoising have them."""
    way, rest = dice.random(), frames - known
    if way < 0.45:
        levels = [_any_level(dice)] * rest
    elif way < 0.9:  # a staircase: later blocks are behind the earlier ones
        length, lag = block or dice.choice((1, 2, 3, 5)), dice.uniform(0.05, 0.4)
        first = dice.uniform(0, 1 + lag * (rest // length))
        steps = [min(max(first - lag * (frame // length), 0.0), 1.0) for frame in range(rest)]
        spaced = shifted if dice.random() < 0.6 else float
        levels = [spaced(1 - step) for step in steps]
    else:
        levels = [_any_level(dice) for _ in range(rest)]
    return torch.tensor([dice.choice((0.0, BARELY))] * known + levels)


def shifted(level: Any) -> Any:
    """Shares of noise, a number or a tensor, as schedulers with a flow shift space their steps."""
    return SHIFT * level / (1 + (SHIFT - 1) * level)


def _any_level(dice: random.Random) -> float:
    level = dice.random()
    return shifted(level) if dice.random() < 0.6 else level


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
