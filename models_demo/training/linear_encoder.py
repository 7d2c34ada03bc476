"""The encoder of images, which is set instead of trained: what it has to compute is linear, and it can do that exactly.

Residual branches and attention add nothing. The first two halvings take means, the next two put the four pixels that
become one into channels of their own, and the last one projects all of them onto components.
"""

import math
from typing import Any

import torch

from models_demo.training.cells import CHANNELS, Cells
from models_demo.training.vae import LOG_VARIANCE

_COLOURS = 3
_GROUP = 4
"""Channels of a group of the last norm."""
_CONSTANT = 64.0
"""What a group has beside a latent: so much more that the norm divides by it alone, but for 0.01 %."""


@torch.no_grad()
def set_encoder(vae: Any, cells: Cells) -> None:
    """Have the encoder of a VAE of Stable Video Diffusion make the latents that `cells` makes."""
    encoder = vae.encoder
    for part in (*encoder.parameters(), *vae.quant_conv.parameters()):
        part.zero_()
    torch.nn.init.dirac_(encoder.conv_in.weight)
    torch.nn.init.dirac_(vae.quant_conv.weight)
    for block in encoder.down_blocks:
        if block.resnets[0].conv_shortcut is not None:
            torch.nn.init.dirac_(block.resnets[0].conv_shortcut.weight)
    first, second, third, fourth, last = (block.downsamplers[0].conv for block in encoder.down_blocks[:-1])
    for halving in (first, second):
        halving.weight[:_COLOURS, :_COLOURS, :2, :2] = 0.25 * torch.eye(_COLOURS)[..., None, None]
    _set_apart(third, _COLOURS)
    _set_apart(fourth, 4 * _COLOURS)
    _project(last, cells)
    _finish(encoder)


def _set_apart(halving: Any, values: int) -> None:
    """From so many values at four pixels to four times as many at one, those of a pixel together."""
    for pixel in range(4):
        to = slice(values * pixel, values * (pixel + 1))
        halving.weight[to, :values, pixel // 2, pixel % 2] = torch.eye(values)


def _project(halving: Any, cells: Cells) -> None:
    # Rows and columns of a cell by the halving that undoes them: the last, the fourth, the third.
    components = cells.components.view(_COLOURS, 2, 2, 2, 2, 2, 2, CHANNELS)
    found = components.permute(7, 2, 5, 3, 6, 0, 1, 4).reshape(CHANNELS, 16 * _COLOURS, 2, 2)
    halving.weight[:CHANNELS, : 16 * _COLOURS, :2, :2] = found
    halving.bias[:CHANNELS] = -cells.mean @ cells.components


def _finish(encoder: Any) -> None:
    """Lead the latents through a norm and a bend: silu(x) - silu(-x) is x, so each goes through twice."""
    shortcut, norm, out = encoder.down_blocks[-1].resnets[0].conv_shortcut, encoder.conv_norm_out, encoder.conv_out
    shortcut.weight.zero_()
    for latent in range(CHANNELS):
        plus, minus = _GROUP * latent, _GROUP * latent + 1
        shortcut.weight[plus, latent], shortcut.weight[minus, latent] = 1.0, -1.0
        shortcut.bias[minus + 1], shortcut.bias[minus + 2] = _CONSTANT, -_CONSTANT
        norm.weight[plus : minus + 1] = _CONSTANT / math.sqrt(2)
        out.weight[latent, plus, 1, 1], out.weight[latent, minus, 1, 1] = 1.0, -1.0
    out.bias[CHANNELS:] = LOG_VARIANCE
