"""Principal components of cells: the linear codes that latents of the demo models are made of.

A cell is what one latent stands for: 32 × 32 pixels, over four frames where a VAE shrinks time. Models are trained on
latents that come straight from drawings at a quarter of the size, which is many times cheaper than an encoder; the VAE
then learns to decode them, and its encoder to make them.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import avg_pool2d

from models_demo.textures import texture
from models_demo.world import Scene, View, draw, placed, random_combination

CELL, CHANNELS = 32, 16
STEP = 4
"""One pixel in how many, along each side, a drawing for latents has."""
_SIDE = CELL // STEP
Size = tuple[int, int, int]
"""Latent frames, rows and columns."""
_BUSY, _ANY = 40, 10
"""How many cells of a drawing components are fitted to: those that show most, and any others."""


@dataclass(frozen=True)
class Cells:
    """The linear map from what cells show to a few numbers."""

    mean: torch.Tensor
    """Of cells, shape (frames · values · 64,)."""
    components: torch.Tensor
    """Shape (frames · values · 64, channels)."""
    frames: int
    """Of a cell."""

    def of_scenes(self, scenes: Sequence[Scene], frames: int, height: int, width: int) -> torch.Tensor:
        """The latents of scenes of so many frames: (scenes, channels, latent frames, rows, columns)."""
        view = View(height, width, step=STEP)
        return self.of_pictures(torch.stack([draw(scene, range(frames), view) for scene in scenes]))

    def mistaken(
        self, scenes: Sequence[Scene], frames: int, height: int, width: int, _dice: random.Random
    ) -> torch.Tensor:
        """The same: nothing is known here of what mistakes are like."""
        return self.of_scenes(scenes, frames, height, width)

    def of_pictures(self, drawings: torch.Tensor) -> torch.Tensor:
        """The latents of drawings, (videos, frames, values, height / 4, width / 4), in the same shape."""
        return ((in_cells(drawings, self.frames) - self.mean) @ self.components).permute(0, 4, 1, 2, 3)


def picture_cells(weights: Path, share: float) -> Cells:
    """Those of pictures, half of them textures: kept among the weights, or fitted."""

    def drawing(number: int, dice: random.Random) -> torch.Tensor:
        if number % 2:
            return avg_pool2d(texture(320, 320, number), STEP)[None]
        return draw(placed(random_combination(dice), 1, 320, 320, dice), [0], View(320, 320, step=STEP))

    return kept(
        weights / "picture_cells.safetensors", lambda: fit(drawing, max(20, round(2000 * share)), CHANNELS, frames=1)
    )


def kept(file: Path, make: Callable[[], Cells]) -> Cells:
    """What is in the file, or is made now and kept there."""
    if not file.exists():
        found = make()
        frames = torch.tensor(found.frames)
        save_file({"mean": found.mean, "components": found.components.contiguous(), "frames": frames}, file)
    stored = load_file(file)
    return Cells(stored["mean"], stored["components"], int(stored["frames"]))


def fit(
    drawing: Callable[[int, random.Random], torch.Tensor],
    count: int,
    channels: int,
    *,
    frames: int,
    is_centred: bool = True,
) -> Cells:
    """Principal components, each scaled to the square root of its deviation: the large ones lead, but not by much.

    `drawing` makes those with the numbers up to `count`, of shape (frames, values, height / 4, width / 4). Latents of
    cells that show much have a mean square of one. Without a centre cells of zeros have latents of zeros.
    """
    dice = random.Random(1)
    busy, usual = [], []
    for number in range(count):
        cells = in_cells(drawing(number, dice)[None], frames).flatten(0, 3)
        busy.append(cells[cells.std(dim=1).topk(min(_BUSY, len(cells))).indices])  # most are flat
        usual.append(cells[torch.tensor(dice.sample(range(len(cells)), _ANY))])
    cells = torch.cat([*busy, *usual])
    mean = torch.cat(usual).mean(dim=0) if is_centred else torch.zeros(cells.shape[1])
    offsets = cells - cells.mean(dim=0) if is_centred else cells
    variances, directions = torch.linalg.eigh(offsets.T @ offsets / len(offsets))
    directions, variances = directions.flip(1)[:, :channels], variances.flip(0)[:channels]
    directions *= directions.gather(0, directions.abs().argmax(dim=0, keepdim=True)).sign()
    scaled = directions * variances**-0.25
    deviation = ((torch.cat(busy) - mean) @ scaled).square().mean().sqrt()
    return Cells(mean, scaled / deviation, frames)


def in_cells(drawings: torch.Tensor, frames: int) -> torch.Tensor:
    """(videos, latent frames, rows, columns, frames · values · 64). The first frame fills a latent frame of its own."""
    start = drawings[:, :1].expand(-1, frames - 1, -1, -1, -1)
    groups = torch.cat((start, drawings), dim=1).unflatten(1, (-1, frames))
    cells = groups.unflatten(5, (-1, _SIDE)).unflatten(4, (-1, _SIDE))  # …, n, frames, values, rows, 8, columns, 8
    return cells.permute(0, 1, 4, 6, 2, 3, 5, 7).flatten(4)
