"""The latents of videos: of each cell two colours, which of them is where, and where shape and stripes are from it.

Any picture can be sketched with two colours a cell ("block truncation coding": Delp and Mitchell, IEEE Transactions on
Communications 27, 1979). In a scene of the small world the two are those of the shape and of what is behind it,
and the same in all cells: a transformer has to find them but once.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.functional import avg_pool2d

from models_demo.architectures import VIDEO_CHANNELS
from models_demo.textures import moving, texture
from models_demo.training.cells import CELL, STEP, Cells, as_drawing, fit, in_cells, kept
from models_demo.world import (
    COLOURS,
    SIZES,
    Scene,
    View,
    offsets,
    placed,
    random_combination,
    silhouette,
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
    mask: Any
    """The components of how much of the second colour there is."""


CHANNELS_OF = Parts(*(slice(*ends) for ends in pairwise((0, 3, 6, 8, 10, 11, 13, 15, 16, VIDEO_CHANNELS))))
_BEHIND_SCALE, _COLOUR_SCALE, _MASK_SCALE = 2.0, 1.3, 1.6
_FAR, _NEAR = 7.5, 288.0
"""Offsets grow by a unit in 38 pixels next to the shape, and up to 7.5 far from it: they are the first thing that comes
out of noise, since all else follows from them."""
_FRAMES_A_UNIT = 10.0
_RADIUS_SCALE = 2.5
_WAY_SCALE = 0.5
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Sketches:
    """Makes latents, by the components of masks."""

    masks: Cells

    def of_scenes(self, scenes: Sequence[Scene], frames: int, height: int, width: int) -> torch.Tensor:
        """The latents of scenes of so many frames: (scenes, 22, latent frames, rows, columns)."""
        numbers = range(frames)
        small, coarse = View(height, width, step=STEP), View(height, width, step=CELL)
        masks = torch.stack([silhouette(scene, numbers, small) for scene in scenes])
        found = self.masks.of_pictures(masks.unsqueeze(2)) * _MASK_SCALE
        size = found.shape[2:]
        constant, across, down, over_time = [], [], [], []
        for scene in scenes:
            what = scene.combination
            behind, colour = torch.tensor(tones(what.background)[0]), torch.tensor(COLOURS[what.colour])
            colours = ((behind * 2 - 1) * _BEHIND_SCALE, (colour * 2 - 1) * _COLOUR_SCALE)
            constant.append(torch.cat((*colours, torch.tensor(way_of(what)) * _WAY_SCALE)))
            turns = stripes(scene, numbers, coarse) * 2 * torch.pi
            waves = torch.stack((turns.cos(), turns.sin())) * (what.pattern == "striped")
            half_way = (frames - 1) / 2
            (x, y), (place_x, place_y) = offsets(scene, numbers, coarse), offsets(scene, [half_way] * frames, coarse)
            across.append(torch.cat((waves, _squashed(torch.stack((place_x, x))))))
            down.append(_squashed(torch.stack((place_y, y))))
            time = (torch.arange(frames) - half_way) / _FRAMES_A_UNIT
            radius = (SIZES[what.size] / SIZES["medium"] * zoom(what, numbers)[:, 0]).log() * _RADIUS_SCALE
            over_time.append(torch.stack((time, radius))[..., None])
        wide, high, always = (_in_fours(torch.stack(values)) for values in (across, down, over_time))
        same = torch.stack(constant)[..., None, None, None]
        parts = Parts(
            behind=same[:, :3],
            colour=same[:, 3:6],
            stripes=wide[:, :2, :, None],
            place=_beside(wide[:, 2], high[:, 0]),
            time=always[:, :1, :, None],
            way=same[:, 6:],
            offsets=_beside(wide[:, 3], high[:, 1]),
            radius=always[:, 1:, :, None],
            mask=found,
        )
        return torch.cat([part.expand(-1, -1, *size) for part in parts], dim=1)

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
            stripes=nothing,
            place=far,
            time=nothing[..., :1],
            way=nothing,
            offsets=far,
            radius=nothing[..., :1],
            mask=found,
        )
        return torch.cat(parts, dim=-1).permute(0, 4, 1, 2, 3)

    def shown(self, latents: torch.Tensor) -> torch.Tensor:
        """A quarter-size look at latents, without a decoder: (videos, frames, 3, height / 4, width / 4), in -1…1."""
        masks = as_drawing(self.masks.cells(latents[:, CHANNELS_OF.mask] / _MASK_SCALE), VIDEO_FRAMES)[
            :, VIDEO_FRAMES - 1 :
        ]
        behind = latents[:, CHANNELS_OF.behind] / _BEHIND_SCALE
        colour = latents[:, CHANNELS_OF.colour] / _COLOUR_SCALE
        sharp = ((masks - 0.5) * 2 + 0.5).clamp(0, 1)

        def spread(part: torch.Tensor) -> torch.Tensor:
            side = CELL // STEP
            whole = part.repeat_interleave(side, 3).repeat_interleave(side, 4).repeat_interleave(VIDEO_FRAMES, 2)
            return whole[:, :, VIDEO_FRAMES - 1 :].transpose(1, 2)

        cosine = latents[:, CHANNELS_OF.stripes][:, :1]
        darker = spread((-cosine * 3).clamp(0, 1)) * 0.18
        back = (spread(behind) + 1) * (1 - darker) - 1
        return (back + (spread(colour) - back) * sharp).clamp(-1, 1)


def sketches(weights: Path, share: float) -> Sketches:
    """With components of masks that are kept among the weights, or fitted: to shapes in motion, and some textures."""
    videos, textures = max(20, round(3000 * share)), max(2, round(300 * share))

    def mask(number: int, dice: random.Random) -> torch.Tensor:
        frames = 2 * VIDEO_FRAMES + 1
        if number >= videos:
            pictures = avg_pool2d(moving(texture(384, 384, number), frames, 320, 320, dice), STEP)
            luma = pictures.mean(dim=1, keepdim=True)
            return (luma > luma.mean()).float()
        scene = placed(random_combination(dice), frames, 320, 320, dice)
        return silhouette(scene, range(frames), View(320, 320, step=STEP)).unsqueeze(1)

    channels = VIDEO_CHANNELS - CHANNELS_OF.mask.start
    return Sketches(
        kept(
            weights / "masks.safetensors",
            lambda: fit(mask, videos + textures, channels, frames=VIDEO_FRAMES, is_centred=False),
        )
    )


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
