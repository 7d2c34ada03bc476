"""Exact rewrites of Stable Video Diffusion's modules: the same mathematics with less work."""

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.functional import conv2d

_Module = TypeVar("_Module", bound=nn.Module)


class OneTokenAttention(nn.Module):
    """Attention to one token: the softmax over one key is 1, so whatever is asked, the answer is that token.

    `bit_for_bit` works the answer out for each that asks, as the whole attention does: for a single one the kernels of
    matrices may round otherwise. Without it there is next to no work left.
    """

    def __init__(self, attention: Any, *, bit_for_bit: bool) -> None:
        super().__init__()
        self._to_value, self._to_out = attention.to_v, attention.to_out[0]
        self._bit_for_bit = bit_for_bit

    def forward(
        self, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, **_masks: object
    ) -> torch.Tensor:
        """What is to be added to `hidden_states`, shape (rows, 1 or asking, channels), from (rows, 1, channels)."""
        value = self._to_value(encoder_hidden_states)
        if self._bit_for_bit:
            value = value.expand(-1, hidden_states.shape[1], -1)
        return self._to_out(value)


class TimeConvolution(nn.Module):
    """A convolution over frames alone, as one of two dimensions: frames, and all pixels of a frame in a row.

    Kernels for three dimensions are slow with a window of one pixel. With channels last nothing is moved in memory.
    """

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self._padding = (int(convolution.padding[0]), 0)

    @staticmethod
    def can_stand_for(module: nn.Module | None) -> bool:
        """Whether this computes what the module does."""
        return (
            isinstance(module, nn.Conv3d)
            and module.kernel_size[1:] == (1, 1)
            and module.padding in ((0, 0, 0), (module.kernel_size[0] // 2, 0, 0))
            and module.stride == module.dilation == (1, 1, 1)
            and module.groups == 1
            and module.padding_mode == "zeros"
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """From features of shape (batch, channels, frames, h, w) to others of the same frames and pixels."""
        convolved = conv2d(features.flatten(3), self.weight.squeeze(-1), self.bias, padding=self._padding)
        return convolved.unflatten(3, features.shape[3:])


def twin(module: _Module) -> _Module:
    """A copy that shares the weights, so that it can be rewritten and the module stay as it is."""
    weights: dict[int, Any] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, weights)


def spare_attention_to_one_token(unet: nn.Module, *, bit_for_bit: bool) -> None:
    """Rewrite the UNet's attentions to the image, of which CLIP makes one token."""
    for block in list(unet.modules()):
        if isinstance(getattr(block, "attn2", None), nn.Module):
            block.attn2 = OneTokenAttention(block.attn2, bit_for_bit=bit_for_bit)
            block.norm2 = nn.Identity()  # only what was asked went through it


def flatten_convolutions_over_time(model: nn.Module) -> None:
    """Rewrite the convolutions of a UNet or a decoder that can be."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if TimeConvolution.can_stand_for(child):
                setattr(parent, name, TimeConvolution(child))  # pyright: ignore[reportArgumentType] — is one if it can


def put_channels_last(model: nn.Module) -> None:
    """Reorder the weights of convolutions in memory, after which what they make has its channels last too."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in model.parameters():
        if weight.ndim in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.ndim])


def layers(model: Any) -> Iterator[nn.Module]:
    """The layers of a UNet or a decoder that do nearly all of the work. None lies in another."""
    for block in (*getattr(model, "down_blocks", ()), model.mid_block, *model.up_blocks):
        yield from block.resnets
        yield from getattr(block, "attentions", ())
