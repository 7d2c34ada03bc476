"""The latents of videos: what is in a scene, the same in all cells, and where shape and stripes are from each cell.

A transformer has to find what all cells share but once, and the rest grows evenly from cell to cell; edges are left to
the decoder. Other pictures are sketched with two colours a cell, and roughly which of them is where ("block truncation
coding": Delp and Mitchell, IEEE Transactions on Communications 27, 1979).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.functional import avg_pool2d

from models_demo.architectures import VIDEO_CHANNELS
from models_demo.textures import moving, texture
from models_demo.training.cells import CELL, STEP, Cells, Size, fit, in_cells, kept
from models_demo.world import (
    COLOURS,
    PANS,
    SHAPES,
    SIZES,
    SPEEDS,
    ZOOMS,
    Combination,
    Scene,
    View,
    edges,
    offsets,
    placed,
    stripes,
    tones,
    way_of,
    zoom,
)

VIDEO_FRAMES = 4
"""Of a cell."""


class Parts(NamedTuple):
    """Something for each part of the channels."""

    behind: Any
    """The colour behind."""
    colour: Any
    """The shape's."""
    shape: Any
    """Which shape it is, as a corner of a tetrahedron; nothing in pictures of anything else."""
    pattern: Any
    """Whether there are stripes, 1 or -1, and whether they go with the shape before a camera that pans: 3."""
    stripes: Any
    """The cosine and sine of the place among them."""
    place: Any
    """How far the place is to which the shape gets half way through the video, to the right and down."""
    time: Any
    """How far into the video it is, from half way."""
    way: Any
    """How far the shape gets in a frame, to the right and down."""
    offsets: Any
    """How far the shape's middle is, to the right and down."""
    radius: Any
    """The shape's."""
    edges: Any
    """How far outside the shape it is, and how far inside a ring's hole."""
    mask: Any
    """In pictures of anything else, the components of how much of the second colour there is."""
    growth: Any
    """How fast a zoom makes the shape larger."""


_ENDS = (0, 3, 6, 9, 10, 12, 14, 15, 17, 19, 20, 22, 25, VIDEO_CHANNELS)
CHANNELS_OF = Parts(*(slice(*ends) for ends in pairwise(_ENDS)))
_MASKS = CHANNELS_OF.mask.stop - CHANNELS_OF.mask.start
_BEHIND_SCALE, _COLOUR_SCALE, _MASK_SCALE = 2.0, 1.3, 1.6
_CORNERS = {
    "circle": (1.0, 1.0, 1.0),
    "square": (1.0, -1.0, -1.0),
    "triangle": (-1.0, 1.0, -1.0),
    "ring": (-1.0, -1.0, 1.0),
}
_FAR, _NEAR = 7.5, 288.0
"""Offsets grow by a unit in 38 pixels next to the shape, and up to 7.5 far from it: they are the first thing that comes
out of noise, since all else follows from them."""
_OUTSIDE, _EDGE = 6.0, 72.0
"""Distances from edges grow by a unit in 12 pixels next to the edge."""
_MISTAKEN = 0.6
"""How far outlines may be on the way to those of another shape."""
_FRAMES_A_UNIT = 10.0
_RADIUS_SCALE = 2.5
_WAY_SCALE = 0.5
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Sketches:
    """Makes latents, by the components of masks."""

    masks: Cells

    def of_scenes(
        self, scenes: Sequence[Scene], frames: int, height: int, width: int, half_way: float | None = None
    ) -> torch.Tensor:
        """The latents of scenes of so many frames: (scenes, 26, latent frames, rows, columns).

        Half way is the middle of them, unless they are more than the model makes at once.
        """
        numbers, half_way = range(frames), (frames - 1) / 2 if half_way is None else half_way
        view = View(height, width, step=CELL)
        constant, across, down, over_time, everywhere = [], [], [], [], []
        for scene in scenes:
            what = scene.combination
            constant.append(torch.tensor(_always(what)))
            turns = stripes(scene, numbers, view) * 2 * torch.pi
            waves = torch.stack((turns.cos(), turns.sin())) * (what.pattern == "striped")
            (x, y), (place_x, place_y) = offsets(scene, numbers, view), offsets(scene, [half_way] * frames, view)
            across.append(torch.cat((waves, _squashed(torch.stack((place_x, x))))))
            down.append(_squashed(torch.stack((place_y, y))))
            time = (torch.arange(frames) - half_way) / _FRAMES_A_UNIT
            radius = (SIZES[what.size] / SIZES["medium"] * zoom(what, numbers)[:, 0]).log() * _RADIUS_SCALE
            over_time.append(torch.stack((time, radius))[..., None])
            everywhere.append(_OUTSIDE * torch.tanh(torch.stack(edges(scene, numbers, view)).flatten(2) / _EDGE))
        same = torch.stack(constant)[..., None, None, None]
        wide, high, timely, each = (_in_fours(torch.stack(values)) for values in (across, down, over_time, everywhere))
        size = (wide.shape[2], high.shape[3], wide.shape[3])
        parts = Parts(
            behind=same[:, :3],
            colour=same[:, 3:6],
            shape=same[:, 6:9],
            pattern=same[:, 9:10],
            stripes=wide[:, :2, :, None],
            place=_beside(wide[:, 2], high[:, 0]),
            time=timely[:, :1, :, None],
            way=same[:, 10:12],
            offsets=_beside(wide[:, 3], high[:, 1]),
            radius=timely[:, 1:, :, None],
            edges=each.unflatten(3, size[1:]),
            mask=torch.zeros(1, _MASKS, 1, 1, 1),
            growth=same[:, 12:],
        )
        return torch.cat([part.expand(len(scenes), -1, *size) for part in parts], dim=1)

    def mistaken(
        self, scenes: Sequence[Scene], frames: int, height: int, width: int, dice: random.Random
    ) -> torch.Tensor:
        """The latents of scenes, some with outlines on the way to those of other shapes, as a transformer makes them.

        Which shape it is they say as ever.
        """
        latents = self.of_scenes(scenes, frames, height, width)
        others = [replace(scene, combination=replace(scene.combination, shape=dice.choice(SHAPES))) for scene in scenes]
        outlines, astray = latents[:, CHANNELS_OF.edges], self.of_scenes(others, frames, height, width)
        share = torch.tensor([dice.uniform(-_MISTAKEN, _MISTAKEN) for _ in scenes]).clamp(min=0)
        outlines.lerp_(astray[:, CHANNELS_OF.edges], share.view(-1, 1, 1, 1, 1))
        return latents

    def of_pictures(self, drawings: torch.Tensor) -> torch.Tensor:
        """The latents of any drawings, (videos, frames, 3, height / 4, width / 4): the brighter colour is in front."""
        cells = in_cells(drawings, VIDEO_FRAMES).unflatten(4, (VIDEO_FRAMES, 3, -1))
        luma = (cells * torch.tensor(_LUMA).view(3, 1)).sum(dim=5, keepdim=True)  # …, frames, 1, 64
        bright = (luma > luma.mean(dim=(4, 6), keepdim=True)).float()
        dark = 1 - bright

        def mean(where: torch.Tensor) -> torch.Tensor:
            return (cells * where).sum(dim=(4, 6)) / where.sum(dim=(4, 6)).clamp(min=1)

        behind, colour = mean(dark), mean(bright)  # videos, n, rows, columns, 3
        flat = bright.sum(dim=(4, 6)) == 0
        colour = torch.where(flat, behind, colour)
        line = (colour - behind)[..., None, :, None]
        share = ((cells - behind[..., None, :, None]) * line).sum(dim=5) / line.square().sum(dim=5).clamp(min=0.01)
        found = share.clamp(0, 1).flatten(4) @ self.masks.components * _MASK_SCALE
        nothing = torch.zeros_like(found[..., :2])
        far = torch.full_like(nothing, -_FAR)
        parts = Parts(
            behind=behind * _BEHIND_SCALE,
            colour=colour * _COLOUR_SCALE,
            shape=nothing[..., :1].expand(*nothing.shape[:-1], 3),
            pattern=-torch.ones_like(nothing[..., :1]),
            stripes=nothing,
            place=far,
            time=nothing[..., :1],
            way=nothing,
            offsets=far,
            radius=nothing[..., :1],
            edges=nothing,
            mask=found,
            growth=nothing[..., :1],
        )
        return torch.cat(parts, dim=-1).permute(0, 4, 1, 2, 3)


def sketches(weights: Path, share: float) -> Sketches:
    """With components of masks that are kept among the weights, or fitted to textures in motion."""

    def mask(number: int, dice: random.Random) -> torch.Tensor:
        frames = 2 * VIDEO_FRAMES + 1
        pictures = avg_pool2d(moving(texture(384, 384, number), frames, 320, 320, dice), STEP)
        luma = pictures.mean(dim=1, keepdim=True)
        return (luma > luma.mean()).float()

    videos = max(2, round(400 * share))
    return Sketches(
        kept(weights / "masks.safetensors", lambda: fit(mask, videos, _MASKS, frames=VIDEO_FRAMES, is_centred=False))
    )


def pictures_of(size: Size) -> Size:
    """How many frames videos of latents of this size have, and how high and wide they are."""
    frames, rows, columns = size
    return VIDEO_FRAMES * (frames - 1) + 1, rows * CELL, columns * CELL


@dataclass(frozen=True)
class Window:
    """A piece of a video: all of it, or one that goes on where an earlier one ended."""

    size: Size
    """(latent frames, rows, columns)."""
    skipped: int
    """The video began so many latent frames earlier."""
    first: int
    """So many the first window had, in the middle of which it is half way for all of them."""

    @classmethod
    def of(cls, size: Size, known: int, dice: random.Random) -> "Window":
        """One of this size whose first latent frames, so many, are the end of an earlier one, if any."""
        skipped = dice.randint(1, size[0]) * dice.choice((1, 1, 2)) if known else 0
        return cls(size, skipped, skipped + known if known else size[0])

    @property
    def half_way(self) -> float:
        """The number of the frame in the middle of the first window."""
        return VIDEO_FRAMES * (self.first - 1) / 2

    def scene(self, what: Combination, dice: random.Random) -> Scene:
        """One that is placed for the first window."""
        return placed(what, *pictures_of((self.first, *self.size[1:])), dice)

    def latents(self, code: Sketches, scenes: Sequence[Scene]) -> torch.Tensor:
        """Those of scenes: (scenes, 26, latent frames, rows, columns)."""
        frames, height, width = pictures_of((self.skipped + self.size[0], *self.size[1:]))
        return code.of_scenes(scenes, frames, height, width, self.half_way)[:, :, self.skipped :]


def places(latents: torch.Tensor) -> list[tuple[float, float]]:
    """Where the shapes are half way through, to the right and down, by what most cells say in latents of scenes."""
    found = list[torch.Tensor]()
    for channel, along in ((CHANNELS_OF.place.start, 3), (CHANNELS_OF.place.start + 1, 2)):
        said = latents[:, channel]
        cells = ((torch.arange(said.shape[along]) + 0.5) * CELL).view([-1 if along == axis else 1 for axis in range(4)])
        middles = cells - _NEAR * torch.atanh((said / _FAR).clamp(-0.9, 0.9))
        found.append(middles.flatten(1).median(dim=1).values)
    return [(x, y) for x, y in torch.stack(found, dim=1).tolist()]


def _always(what: Combination) -> list[float]:
    """What is the same in all cells of a scene: the first four parts of the channels, the way, and growth."""
    behind = [(value * 2 - 1) * _BEHIND_SCALE for value in tones(what.background)[0]]
    colour = [(value * 2 - 1) * _COLOUR_SCALE for value in COLOURS[what.colour]]
    pattern = 3.0 if what.motion in PANS else 1.0 if what.pattern == "striped" else -1.0
    ways = (*way_of(what), ZOOMS.get(what.motion, 0) * SPEEDS[what.speed])
    return [*behind, *colour, *_CORNERS[what.shape], pattern, *(way * _WAY_SCALE for way in ways)]


def _in_fours(values: torch.Tensor) -> torch.Tensor:
    """Means over the frames of each latent frame: from (videos, channels, frames, places) on."""
    first = values[:, :, :1].expand(-1, -1, VIDEO_FRAMES - 1, -1)
    return torch.cat((first, values), dim=2).unflatten(2, (-1, VIDEO_FRAMES)).mean(dim=3)


def _squashed(pixels: torch.Tensor) -> torch.Tensor:
    return _FAR * torch.tanh(pixels / _NEAR)


def _beside(wide: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """(videos, 2, latent frames, rows, columns), of what is the same in a column and what is in a row."""
    size = (*wide.shape[:2], high.shape[2], wide.shape[2])
    return torch.stack((wide[:, :, None, :].expand(size), high[:, :, :, None].expand(size)), dim=1)
