"""How much arithmetic a Stable Video Diffusion render is, counted from the shapes of its models."""

from collections.abc import Iterator
from typing import Any

from torch import nn

_NOT_AT_EVERY_PIXEL = ("time_emb_proj", "time_pos_embed", "attn2")
"""Parts that look at a frame, or at the image as a whole."""


class UnetArithmetic:
    """Counts the floating-point operations of a UNet. What is elementwise, and attention over frames, are left out."""

    def __init__(self, unet: Any) -> None:
        self._linear = sum(2 * _weights(part) / 4**level for level, part in _unet_parts(unet))
        self._quadratic = sum(4 * _attention_width(part) / 16**level for level, part in _unet_parts(unet))

    def flops(self, frames: int, height: int, width: int) -> float:
        """Of one pass, one branch of guidance, over latents of this size."""
        pixels = height * width
        return frames * pixels * (self._linear + self._quadratic * pixels)


class DecoderArithmetic:
    """Counts the floating-point operations of a decoder's convolutions."""

    def __init__(self, decoder: Any) -> None:
        self._linear = sum(2 * _weights(part) * 4**level for level, part in _decoder_parts(decoder))

    def flops(self, frames: int, height: int, width: int) -> float:
        """Of decoding latents of this size."""
        return frames * height * width * self._linear


def _unet_parts(unet: Any) -> Iterator[tuple[int, nn.Module]]:
    """The parts, each with how often its sides are halved."""
    deepest = len(unet.down_blocks) - 1
    yield 0, unet.conv_in
    for level, block in enumerate(unet.down_blocks):
        yield from _layers(level, block)
        yield level + 1, nn.ModuleList(block.downsamplers or ())
    yield from _layers(deepest, unet.mid_block)
    for level, block in zip(range(deepest, -1, -1), unet.up_blocks, strict=True):
        yield from _layers(level, block)
        yield level - 1, nn.ModuleList(block.upsamplers or ())
    yield 0, unet.conv_out


def _decoder_parts(decoder: Any) -> Iterator[tuple[int, nn.Module]]:
    """The parts, each with how often its sides are doubled."""
    yield 0, decoder.conv_in
    yield from _layers(0, decoder.mid_block)
    for level, block in enumerate(decoder.up_blocks):
        yield from _layers(level, block)
        yield level + 1, nn.ModuleList(block.upsamplers or ())
    yield len(decoder.up_blocks) - 1, decoder.conv_out


def _layers(level: int, block: Any) -> Iterator[tuple[int, nn.Module]]:
    yield from ((level, layer) for layer in (*block.resnets, *getattr(block, "attentions", ())))


def _weights(part: nn.Module) -> int:
    """Weights that every pixel meets."""
    return sum(
        weight.numel()
        for name, weight in part.named_parameters()
        if weight.ndim > 1 and not any(other in name for other in _NOT_AT_EVERY_PIXEL)
    )


def _attention_width(part: nn.Module) -> int:
    """Channels of its attentions within a frame, summed."""
    return sum(block.attn1.to_q.out_features for block in getattr(part, "transformer_blocks", ()))
