"""Trains the VAEs: their decoders to paint what latents stand for, the encoder of videos to make them."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.nn.functional import avg_pool2d

from models_demo.textures import moving, texture
from models_demo.training.cells import CELL, STEP, Size
from models_demo.training.course import Course
from models_demo.training.text import any_scene
from models_demo.world import Scene, View, draw, placed

LOG_VARIANCE = -9.0
"""Of all latents that an encoder makes: next to nothing."""
_ENCODER_STEPS = 1500
_RATE, _MATRICES = 2e-3, 5e-3
_WAY = 96
"""How far a camera may wander over a texture, in pixels."""


class Code(Protocol):
    """What latents stand for."""

    def of_scenes(self, scenes: Sequence[Scene], frames: int, height: int, width: int) -> torch.Tensor:
        """The latents of scenes of so many frames: (scenes, channels, latent frames, rows, columns)."""
        ...

    def mistaken(
        self, scenes: Sequence[Scene], frames: int, height: int, width: int, dice: random.Random, /
    ) -> torch.Tensor:
        """The latents of scenes with mistakes that whoever makes latents will make."""
        ...

    def of_pictures(self, drawings: torch.Tensor) -> torch.Tensor:
        """The latents of drawings, (videos, frames, 3, height / 4, width / 4), in the same shape."""
        ...


@dataclass(frozen=True)
class Syllabus:
    """What a VAE is trained on."""

    name: str
    frames: int
    """Of a latent frame."""
    steps: int
    first_steps: int
    first_sizes: Sequence[Size]
    """Small ones, in the first steps."""
    sizes: Sequence[Size]
    """Then larger ones as well: most of a small picture is near its edges."""
    batch_cells: int
    """About how many a step has."""
    textures: float
    """The share of pictures that are such."""
    noise: float
    """The most on latents that a decoder is to see through."""


VIDEO = Syllabus(
    name="video",
    frames=4,
    steps=9500,
    first_steps=600,
    first_sizes=((2, 4, 4), (2, 4, 4), (2, 4, 5), (3, 4, 4), (2, 5, 4), (4, 3, 4), (2, 6, 6)),
    sizes=((2, 4, 4), (2, 6, 6), (2, 8, 8), (2, 7, 10), (3, 6, 7), (4, 5, 6), (8, 4, 4), (1, 10, 12)),
    batch_cells=256,
    textures=0.1,
    noise=0.2,
)
IMAGE = Syllabus(
    name="image",
    frames=1,
    steps=2500,
    first_steps=600,
    first_sizes=((1, 4, 4), (1, 4, 5), (1, 5, 4), (1, 6, 6)),
    sizes=((1, 4, 4), (1, 6, 6), (1, 8, 8), (1, 7, 10), (1, 10, 12)),
    batch_cells=160,
    textures=0.5,
    noise=0.15,
)


def train_decoder(folder: Path, share: float, syllabus: Syllabus, code: Code, vae: Any) -> None:
    """Train the decoder of a VAE for a share of its steps. It learns to see through some noise, as latents have it."""

    def painting(step: int, dice: random.Random) -> torch.Tensor:
        latents, pictures = _batch(syllabus, code, step / share, dice, mistaken=True)
        noise = torch.rand(len(latents), 1, 1, 1, 1) * syllabus.noise
        wrong = (_decoded(vae, latents + noise * torch.randn_like(latents)) - pictures).flatten(0, 1)
        # Seen from afar as well: where the edges are right, most of what is wrong is the colours of areas.
        return wrong.abs().mean() + avg_pool2d(wrong, CELL // 2).abs().mean()

    # Only the VAE of videos has a convolution of its own behind the latents.
    decoder = {"decoder": vae.decoder} | ({"after": vae.post_quant_conv} if hasattr(vae, "post_quant_conv") else {})
    with frames_on_their_own(vae.decoder):
        _train(f"{syllabus.name}_decoder", folder, decoder, round(syllabus.steps * share), painting)


def train_video_encoder(folder: Path, share: float, code: Code, vae: Any) -> None:
    """Train the encoder of the VAE of videos for a share of its steps."""

    def coding(step: int, dice: random.Random) -> torch.Tensor:
        latents, pictures = _batch(VIDEO, code, step / share, dice)
        made = vae.encode(pictures.transpose(1, 2)).latent_dist
        return (made.mean - latents).square().mean() + 0.01 * (made.logvar - LOG_VARIANCE).square().mean()

    encoder = {"encoder": vae.encoder, "before": vae.quant_conv}
    _train("video_encoder", folder, encoder, round(_ENCODER_STEPS * share), coding)


@contextmanager
def frames_on_their_own(decoder: Any) -> Iterator[None]:
    """Has the decoder of Stable Video Diffusion paint each frame without the others, and leave out what joins them.

    Its layers over time are set to change nothing, so it paints the same afterwards, when they are back.
    """
    blocks = [block for block in decoder.modules() if hasattr(block, "temporal_res_block")]
    for block in blocks:
        _set_to_nothing(block.temporal_res_block.conv2)
        block.forward = partial(_in_space, block)
    if hasattr(decoder, "time_conv_out"):
        _set_to_nothing(decoder.time_conv_out)
        torch.nn.init.dirac_(decoder.time_conv_out.weight)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def _in_space(block: Any, hidden: torch.Tensor, temb: None = None, image_only_indicator: None = None) -> torch.Tensor:
    return block.spatial_res_block(hidden, temb)


def _set_to_nothing(convolution: Any) -> None:
    torch.nn.init.zeros_(convolution.weight)
    torch.nn.init.zeros_(convolution.bias)


def _train(
    name: str, folder: Path, parts: dict[str, Any], steps: int, loss: Callable[[int, random.Random], torch.Tensor]
) -> None:
    torch.manual_seed(0)
    model = torch.nn.ModuleDict(parts)
    Course(name, folder, model, steps=steps, rate=_RATE, matrices=_MATRICES, is_inner=_is_kernel).finish(loss)


def _is_kernel(name: str) -> bool:
    return name.endswith("weight") and "norm" not in name


def _decoded(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """From (videos, channels, latent frames, rows, columns) to (videos, frames, 3, height, width)."""
    if hasattr(vae, "post_quant_conv"):
        return vae.decode(latents).sample.transpose(1, 2)
    return vae.decode(latents[:, :, 0], num_frames=1).sample[:, None]


def _batch(
    syllabus: Syllabus, code: Code, step: float, dice: random.Random, *, mistaken: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents, and the pictures they stand for, (videos, frames, 3, height, width)."""
    sizes = syllabus.first_sizes if step < syllabus.first_steps else syllabus.sizes
    latent_frames, rows, columns = dice.choice(sizes)
    height, width, frames = rows * CELL, columns * CELL, syllabus.frames * (latent_frames - 1) + 1
    drawn, scenes, textures = [], [], []
    for _ in range(max(1, syllabus.batch_cells // (latent_frames * rows * columns))):
        if dice.random() < syllabus.textures:
            way = _WAY if frames > 1 else 0
            room = texture(height + way, width + way, dice.getrandbits(32))
            textures.append(moving(room, frames, height, width, dice) if way else room[None])
        else:
            scenes.append(placed(any_scene(dice), frames, height, width, dice))
            drawn.append(draw(scenes[-1], range(frames), View(height, width)))
    latents = []
    if scenes:
        size = (frames, height, width)
        latents.append(code.mistaken(scenes, *size, dice) if mistaken else code.of_scenes(scenes, *size))
    if textures:
        latents.append(code.of_pictures(torch.stack([avg_pool2d(pictures, STEP) for pictures in textures])))
    return torch.cat(latents), torch.stack(drawn + textures)
