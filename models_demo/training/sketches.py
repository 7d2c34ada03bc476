"""The latents of videos: of each cell two colours, which of them is where, and where shape and stripes are from it.

Any picture can be sketched with two colours a cell ("block truncation coding": Delp and Mitchell, IEEE Transactions on
Communications 27, 1979). In a scene of the small world the two are those of the shape and of what is behind it,
and the same in all cells: a transformer has to find them but once.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.functional import avg_pool2d

from models_demo.textures import moving, texture
from models_demo.training.cells import CELL, CHANNELS, STEP, Cells, as_drawing, fit, in_cells, kept
from models_demo.world import COLOURS, Scene, View, offsets, placed, random_combination, silhouette, stripes, tones

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
    offsets: Any
    """How far the shape's middle is, to the right and down."""
    mask: Any
    """The components of how much of the second colour there is."""


CHANNELS_OF = Parts(slice(0, 3), slice(3, 6), slice(6, 8), slice(8, 10), slice(10, CHANNELS))
_BEHIND_SCALE, _COLOUR_SCALE, _MASK_SCALE = 2.0, 1.3, 1.6
_FAR, _NEAR = 7.5, 288.0
"""Offsets grow by a unit in 38 pixels next to the shape, and up to 7.5 far from it: they are the first thing that comes
out of noise, since all else follows from them."""
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Sketches:
    """Makes latents, by the components of masks."""

    masks: Cells

    def of_scenes(self, scenes: Sequence[Scene], frames: int, height: int, width: int) -> torch.Tensor:
        """The latents of scenes of so many frames: (scenes, 16, latent frames, rows, columns)."""
        numbers = range(frames)
        small, coarse = View(height, width, step=STEP), View(height, width, step=CELL)
        masks = torch.stack([silhouette(scene, numbers, small) for scene in scenes])
        found = self.masks.of_pictures(masks.unsqueeze(2)) * _MASK_SCALE
        size = found.shape[2:]
        constant, across, down = [], [], []
        for scene in scenes:
            what = scene.combination
            behind, colour = torch.tensor(tones(what.background)[0]), torch.tensor(COLOURS[what.colour])
            constant.append(torch.cat(((behind * 2 - 1) * _BEHIND_SCALE, (colour * 2 - 1) * _COLOUR_SCALE)))
            turns = stripes(scene, numbers, coarse) * 2 * torch.pi
            waves = torch.stack((turns.cos(), turns.sin())) * (what.pattern == "striped")
            x, y = (_FAR * torch.tanh(offset / _NEAR) for offset in offsets(scene, numbers, coarse))
            across.append(torch.cat((waves, x[None])))
            down.append(y[None])
        over_time = [_in_fours(torch.stack(values)) for values in (across, down)]
        parts = (
            torch.stack(constant)[..., None, None, None],
            over_time[0].unsqueeze(3),
            over_time[1].unsqueeze(4),
        )
        return torch.cat((*(part.expand(-1, -1, *size) for part in parts), found), dim=1)

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
        no_stripes = torch.zeros_like(found[..., :2])
        no_shape = torch.full_like(no_stripes, -_FAR)
        parts = (behind * _BEHIND_SCALE, colour * _COLOUR_SCALE, no_stripes, no_shape, found)
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


def sketches(folder: Path, share: float) -> Sketches:
    """With components of masks that are kept in the folder, or fitted: to shapes in motion, and some textures."""
    videos, textures = max(20, round(3000 * share)), max(2, round(300 * share))

    def mask(number: int, dice: random.Random) -> torch.Tensor:
        frames = 2 * VIDEO_FRAMES + 1
        if number >= videos:
            pictures = avg_pool2d(moving(texture(384, 384, number), frames, 320, 320, dice), STEP)
            luma = pictures.mean(dim=1, keepdim=True)
            return (luma > luma.mean()).float()
        scene = placed(random_combination(dice), frames, 320, 320, dice)
        return silhouette(scene, range(frames), View(320, 320, step=STEP)).unsqueeze(1)

    channels = CHANNELS - CHANNELS_OF.mask.start
    return Sketches(
        kept(
            folder / "masks.safetensors",
            lambda: fit(mask, videos + textures, channels, frames=VIDEO_FRAMES, is_centred=False),
        )
    )


def _in_fours(values: torch.Tensor) -> torch.Tensor:
    """Means over the frames of each latent frame: from (videos, channels, frames, places) on."""
    first = values[:, :, :1].expand(-1, -1, VIDEO_FRAMES - 1, -1)
    return torch.cat((first, values), dim=2).unflatten(2, (-1, VIDEO_FRAMES)).mean(dim=3)
