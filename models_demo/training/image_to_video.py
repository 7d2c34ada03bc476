"""Trains the UNet of image to video, with CLIP's encoder: the camera pans to the right over the given picture."""

import random
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import avg_pool2d, interpolate

from models_demo.architectures import image_encoder, image_processor, image_to_video_unet
from models_demo.textures import texture
from models_demo.training.cells import CELL, STEP, Cells
from models_demo.training.course import Course
from models_demo.training.text import any_scene
from models_demo.world import View, draw, pan_speed, placed

_STEPS, _BATCH = 5000, 4
_SIZES = ((8, 6, 8), (14, 4, 6), (10, 6, 6), (25, 4, 6), (14, 6, 10), (4, 8, 12))
"""Frames, rows and columns of latents."""
_LOWEST, _HIGHEST, _BEND = 0.002, 700.0, 7.0
"""Of the noise, and how its steps are spaced between: those of the XT checkpoint."""
_WITHOUT_IMAGE = 0.15
_FINE = STEP // 2


def train_unet(folder: Path, share: float, cells: Cells) -> tuple[Any, Any]:
    """The UNet and the image encoder, trained."""
    torch.manual_seed(0)
    parts = torch.nn.ModuleDict({"unet": image_to_video_unet(), "encoder": image_encoder()})
    steps = round(_STEPS * share)
    course = Course("image_to_video", folder, parts, steps=steps, rate=1e-3, matrices=2e-3, is_inner=_is_inner)

    def loss(_step: int, dice: random.Random) -> torch.Tensor:
        frames, rows, columns = dice.choice(_SIZES)
        drawn = [_panned(frames, rows, columns, dice) for _ in range(_BATCH)]
        latents = cells.of_pictures(torch.stack([pictures for pictures, _, _ in drawn])).transpose(1, 2)
        told = torch.tensor([[dice.choice((5, 6, 7, 11, 23)), bucket, 0.02] for _, bucket, _ in drawn])
        seen = parts["encoder"](torch.stack([picture for _, _, picture in drawn])).image_embeds[:, None]
        blind = (torch.rand(_BATCH) < _WITHOUT_IMAGE).view(-1, 1, 1)
        image = latents[:, :1].masked_fill(blind[..., None, None], 0.0) + 0.02 * torch.randn_like(latents[:, :1])
        return denoising_loss(parts["unet"], latents, image, seen.masked_fill(blind, 0.0), told, dice)

    course.finish(loss)
    return parts["unet"], parts["encoder"]


def denoising_loss(
    unet: Any, latents: torch.Tensor, image: torch.Tensor, seen: torch.Tensor, told: torch.Tensor, dice: random.Random
) -> torch.Tensor:
    """How wrong the UNet's v is, at one level of noise a video.

    The latents it is given are off by some multiple of themselves that grows from frame to frame, as guidance makes
    them, and it is to find the right ones nevertheless.
    """
    videos, frames = latents.shape[:2]
    low, high = _LOWEST ** (1 / _BEND), _HIGHEST ** (1 / _BEND)
    noise_levels = torch.tensor([(low + dice.random() * (high - low)) ** _BEND for _ in range(videos)])
    sigma = noise_levels.view(-1, 1, 1, 1, 1)
    most = (3 * sigma).clamp(max=7.0) * torch.rand_like(sigma) * (torch.rand_like(sigma) < 0.6)
    sign = torch.where(torch.rand_like(sigma) < 0.75, 1.0, -1.0)
    off = (1 + sign * most * torch.linspace(0, 1, frames).view(1, -1, 1, 1, 1)).clamp(min=0)
    noisy = latents * off + sigma * torch.randn_like(latents)
    scale = (sigma**2 + 1).sqrt()
    wanted = (noisy / scale**2 - latents) * scale / sigma
    found = unet(
        torch.cat((noisy / scale, image.expand(-1, frames, -1, -1, -1)), dim=2),
        0.25 * noise_levels.log(),
        encoder_hidden_states=seen,
        added_time_ids=told,
        return_dict=False,
    )[0]
    return (found - wanted).square().mean()


def _panned(frames: int, rows: int, columns: int, dice: random.Random) -> tuple[torch.Tensor, float, torch.Tensor]:
    """Drawings (frames, 3, height / 4, width / 4), the motion bucket, and the first picture as CLIP is shown it."""
    height, width = rows * CELL, columns * CELL
    if dice.random() < 0.5:
        picture = avg_pool2d(texture(height, width, dice.getrandbits(32)), _FINE)
    else:
        scene = placed(any_scene(dice), 1, height, width, dice)
        picture = draw(scene, [0], View(height, width, step=_FINE))[0]
    bucket = float(dice.choice((127, dice.randint(0, 255))))
    mirrored = torch.cat((picture, picture.flip(2)), dim=2)
    shifts = pan_speed(bucket) / _FINE * torch.arange(frames)
    places = shifts[:, None] + torch.arange(width // _FINE)
    before = places.floor().long()
    part = (places - before).view(1, 1, frames, -1)
    before, after = (where.clamp(max=mirrored.shape[2] - 1) for where in (before, before + 1))
    moved = mirrored[:, :, before] * (1 - part) + mirrored[:, :, after] * part
    small = avg_pool2d(moved.permute(2, 0, 1, 3), STEP // _FINE)
    return small, bucket, _as_clip_sees(picture)


def _as_clip_sees(picture: torch.Tensor) -> torch.Tensor:
    """The picture as the pipeline shows it to CLIP: (3, 224, 224)."""
    clip = _clip()
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (clip.image_mean, clip.image_std))
    return (interpolate(picture[None], (224, 224), mode="bilinear")[0] / 2 + 0.5 - mean) / deviation


@cache
def _clip() -> Any:
    return image_processor()


def _is_inner(name: str) -> bool:
    inner = ("attn", "ff", "conv1", "conv2", "proj_in", "proj_out")
    return name.startswith("unet.") and name.endswith("weight") and "norm" not in name and any(n in name for n in inner)
