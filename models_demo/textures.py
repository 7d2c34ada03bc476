"""Natural-ish pictures: leaves of all sizes that cover each other, shaded by clouds."""

import math
import random

import torch
from torch.nn.functional import grid_sample, interpolate

_SMALLEST, _LARGEST = 6.0, 160.0
"""Radii of leaves, in pixels."""


def texture(height: int, width: int, seed: int, leaves: int = 40) -> torch.Tensor:
    """A picture of shape (3, height, width), in -1…1.

    Radii follow the power law under which a picture looks alike at all scales (the "dead leaves" of the statistics of
    natural images); clouds are sums of noise whose strength is in proportion to its wavelength.
    """
    dice, noise = random.Random(seed), torch.Generator().manual_seed(seed)
    down = torch.arange(height).view(-1, 1) + 0.5
    across = torch.arange(width).view(1, -1) + 0.5
    tint = torch.tensor([dice.uniform(0.15, 0.85) for _ in range(3)]).view(3, 1, 1)
    picture = tint.expand(3, height, width).clone()
    for _ in range(leaves):
        # P(radius > r) ~ 1 / r², cut at both ends.
        share = dice.random()
        radius = (share * _LARGEST**-2 + (1 - share) * _SMALLEST**-2) ** -0.5 * dice.choice((1, 2, 4))
        x, y, angle = dice.uniform(0, width), dice.uniform(0, height), dice.uniform(0, math.pi)
        along = (across - x) * math.cos(angle) + (down - y) * math.sin(angle)
        aside = (down - y) * math.cos(angle) - (across - x) * math.sin(angle)
        stretch = dice.uniform(1, 3)
        if dice.random() < 0.3:
            outside = torch.maximum(along.abs() / stretch, aside.abs()) - radius
        else:
            outside = torch.hypot(along / stretch, aside) - radius
        own = torch.tensor([dice.random() for _ in range(3)]).view(3, 1, 1)
        colour = 0.5 * own + 0.5 * tint + 0.15 * dice.uniform(-1, 1)
        picture += (colour - picture) * (0.5 - outside).clamp(0, 1)
    strength = dice.choice((0.0, 0.15, 0.4))
    picture *= 1 + strength * _clouds(height, width, noise)
    return picture.clamp(0, 1) * 2 - 1


def _clouds(height: int, width: int, noise: torch.Generator) -> torch.Tensor:
    """Shape (1, height, width), about -1…1."""
    total = torch.zeros(1, 1, height, width)
    wavelength = 256
    while wavelength >= 8:
        size = (height // wavelength + 2, width // wavelength + 2)
        grid = torch.randn(1, 1, *size, generator=noise)
        total += interpolate(grid, (height, width), mode="bicubic") * (wavelength / 256) ** 0.8
        wavelength //= 2
    return total[0] / 2


def moving(picture: torch.Tensor, frames: int, height: int, width: int, dice: random.Random) -> torch.Tensor:
    """A camera that wanders over the picture at one speed: (frames, 3, height, width)."""
    room_down, room_across = picture.shape[1] - height, picture.shape[2] - width
    top, left = dice.uniform(0, room_down), dice.uniform(0, room_across)
    speed, angle = dice.choice((0.0, 1.0, 3.0, 6.0)), dice.uniform(0, 2 * math.pi)
    time = torch.arange(frames).float()
    tops = (top + speed * math.sin(angle) * time).clamp(0, room_down)
    lefts = (left + speed * math.cos(angle) * time).clamp(0, room_across)
    rows = (tops.view(-1, 1) + torch.arange(height) + 0.5) / picture.shape[1] * 2 - 1
    columns = (lefts.view(-1, 1) + torch.arange(width) + 0.5) / picture.shape[2] * 2 - 1
    grid = torch.stack((columns[:, None, :].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)), dim=-1)
    return grid_sample(picture.expand(frames, -1, -1, -1), grid, align_corners=False)
