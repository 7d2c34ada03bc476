"""The latents of the demo models: principal components of what the small world and textures show in a cell.

A cell is what one latent stands for: 32 × 32 pixels, over four frames where a VAE shrinks time. Models are trained on
latents that come straight from drawings at a quarter of the size, which is many times cheaper than an encoder; the VAE
then learns to decode them, and its encoder to make them.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import avg_pool2d

from models_demo.textures import moving, texture
from models_demo.world import View, draw, placed, random_combination

CELL, CHANNELS = 32, 16
VIDEO_FRAMES = 4
STEP = 4
"""One pixel in how many, along each side, a drawing for latents has."""
_SIDE = CELL // STEP
_BUSY, _ANY = 40, 10
"""How many cells of a drawing components are fitted to: those that show most, and any others."""


@dataclass(frozen=True)
class Cells:
    """The linear map from cells to latents."""

    mean: torch.Tensor
    """Of cells, shape (frames · 192,)."""
    components: torch.Tensor
    """Shape (frames · 192, 16)."""

    @property
    def frames(self) -> int:
        """Of a cell."""
        return len(self.mean) // (3 * _SIDE**2)

    def latents(self, drawings: torch.Tensor) -> torch.Tensor:
        """From drawings, (videos, frames, 3, height / 4, width / 4), to (videos, 16, latent frames, rows, columns)."""
        return ((in_cells(drawings, self.frames) - self.mean) @ self.components).permute(0, 4, 1, 2, 3)

    def cells(self, latents: torch.Tensor) -> torch.Tensor:
        """The cells with these latents that are nearest to the mean: (videos, latent frames, rows, columns, …)."""
        back = torch.linalg.pinv(self.components)
        return latents.permute(0, 2, 3, 4, 1) @ back + self.mean


def video_cells(folder: Path, share: float) -> Cells:
    """Those of the small world in motion, with a few textures: kept in the folder, or fitted."""
    videos, textures = max(20, round(3000 * share)), max(2, round(200 * share))

    def drawing(number: int, dice: random.Random) -> torch.Tensor:
        frames = 2 * VIDEO_FRAMES + 1
        if number >= videos:
            return avg_pool2d(moving(texture(384, 384, number), frames, 320, 320, dice), STEP)
        scene = placed(random_combination(dice), frames, 320, 320, dice)
        return draw(scene, range(frames), View(320, 320, step=STEP))

    return _kept(folder / "video_cells.safetensors", drawing, videos + textures, VIDEO_FRAMES)


def picture_cells(folder: Path, share: float) -> Cells:
    """Those of pictures, half of them textures: kept in the folder, or fitted."""

    def drawing(number: int, dice: random.Random) -> torch.Tensor:
        if number % 2:
            return avg_pool2d(texture(320, 320, number), STEP)[None]
        return draw(placed(random_combination(dice), 1, 320, 320, dice), [0], View(320, 320, step=STEP))

    return _kept(folder / "picture_cells.safetensors", drawing, max(20, round(2000 * share)), 1)


def _kept(file: Path, drawing: Callable[[int, random.Random], torch.Tensor], count: int, frames: int) -> Cells:
    if not file.exists():
        found = fit(drawing, count, frames)
        save_file({"mean": found.mean, "components": found.components.contiguous()}, file)
    return Cells(**load_file(file))


def fit(drawing: Callable[[int, random.Random], torch.Tensor], count: int, frames: int) -> Cells:
    """Principal components, each scaled to the square root of its deviation: the large ones lead, but not by much.

    `drawing` makes those with the numbers up to `count`, of shape (frames, 3, height / 4, width / 4).
    """
    dice = random.Random(1)
    kept, usual = [], []
    for number in range(count):
        cells = in_cells(drawing(number, dice)[None], frames).flatten(0, 3)
        busy = cells.std(dim=1).topk(min(_BUSY, len(cells))).indices  # most are flat
        any_ones = cells[torch.tensor(dice.sample(range(len(cells)), _ANY))]
        kept += [cells[busy], any_ones]
        usual.append(any_ones)
    cells = torch.cat(kept)
    centred = cells - cells.mean(dim=0)
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
    directions, variances = directions.flip(1)[:, :CHANNELS], variances.flip(0)[:CHANNELS]
    directions *= directions.gather(0, directions.abs().argmax(dim=0, keepdim=True)).sign()
    scaled = directions * variances**-0.25
    mean = torch.cat(usual).mean(dim=0)
    deviation = ((torch.cat(usual) - mean) @ scaled).square().mean().sqrt()
    return Cells(mean, scaled / deviation)


def in_cells(drawings: torch.Tensor, frames: int) -> torch.Tensor:
    """(videos, latent frames, rows, columns, frames · 192). The first latent frame is the first frame repeated."""
    start = drawings[:, :1].expand(-1, frames - 1, -1, -1, -1)
    groups = torch.cat((start, drawings), dim=1).unflatten(1, (-1, frames))
    cells = groups.unflatten(5, (-1, _SIDE)).unflatten(4, (-1, _SIDE))  # videos, n, frames, 3, rows, 8, columns, 8
    return cells.permute(0, 1, 4, 6, 2, 3, 5, 7).flatten(4)


def as_drawing(cells: torch.Tensor, frames: int) -> torch.Tensor:
    """The opposite of `in_cells`, with all frames of the first latent frame."""
    parts = cells.unflatten(4, (frames, 3, _SIDE, _SIDE)).permute(0, 1, 4, 5, 2, 6, 3, 7)
    return parts.flatten(6, 7).flatten(4, 5).flatten(1, 2)
