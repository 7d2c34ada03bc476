"""How much arithmetic a Stable Video Diffusion render is, counted from the shapes of its models."""

from typing import Any

from torch import nn


class UnetArithmetic:
    """Counts the floating-point operations of a UNet. What is elementwise, and attention over frames, are left out."""

    def __init__(self, unet: Any) -> None:
        deepest = len(unet.down_blocks) - 1
        levels = [
            (0, unet.conv_in),
            *enumerate(unet.down_blocks),
            (deepest, unet.mid_block),
            *((deepest - level, block) for level, block in enumerate(unet.up_blocks)),
            (0, unet.conv_out),
        ]
        self._linear = sum(2 * _weights(part) / 4**level for level, part in levels)
        self._quadratic = sum(4 * _spatial_attention_width(part) / 16**level for level, part in levels)

    def flops(self, frames: int, height: int, width: int) -> float:
        """Of one pass over latents of this size."""
        pixels = height * width
        return frames * pixels * (self._linear + self._quadratic * pixels)


class DecoderArithmetic:
    """Counts the floating-point operations of a decoder's convolutions."""

    def __init__(self, decoder: Any) -> None:
        levels = [(0, decoder.conv_in), (0, decoder.mid_block), *enumerate(decoder.up_blocks)]
        self._linear = sum(2 * _weights(part) * 4**level for level, part in levels)

    def flops(self, frames: int, height: int, width: int) -> float:
        """Of decoding latents of this size."""
        return frames * height * width * self._linear


def _weights(part: nn.Module) -> int:
    """Weights that every position meets."""
    return sum(parameter.numel() for parameter in part.parameters() if parameter.ndim > 1)


def _spatial_attention_width(part: nn.Module) -> int:
    """Channels of all attentions within a frame, summed."""
    blocks = (block for attention in getattr(part, "attentions", ()) for block in attention.transformer_blocks)
    return sum(block.attn1.to_q.out_features for block in blocks)
