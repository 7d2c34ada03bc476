"""Exact rewrites of Stable Video Diffusion's modules: the same mathematics with less work."""

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.functional import conv2d, silu

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


class InPlaceBlock(nn.Module):
    """A decoder's block that writes over what it no longer needs: on the CPU new memory costs more than arithmetic.

    Bit for bit what the block makes. Only for decoders, whose blocks know no time but that of frames.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self._within_frames, self._over_frames = block.spatial_res_block, block.temporal_res_block
        self._mixer = block.time_mixer

    def forward(self, hidden_states: torch.Tensor, image_only_indicator: torch.Tensor) -> torch.Tensor:
        """From features of shape (videos · frames, channels, h, w); `image_only_indicator` is (videos, frames)."""
        within, over = self._within_frames, self._over_frames
        features = within.conv1(silu(within.norm1(hidden_states), inplace=True))
        features = within.conv2(silu(within.norm2(features), inplace=True))
        features += hidden_states if within.conv_shortcut is None else within.conv_shortcut(hidden_states)
        features = features.unflatten(0, image_only_indicator.shape).transpose(1, 2)
        mixed = over.conv1(silu(over.norm1(features), inplace=True))
        mixed = over.conv2(silu(over.norm2(mixed), inplace=True))
        mixed += features
        share = self._mixer.get_alpha(image_only_indicator, features.ndim).to(features.dtype)
        if self._mixer.switch_spatial_to_temporal_mix:
            share = 1 - share
        return features.mul_(share).add_(mixed.mul_(1 - share)).transpose(1, 2).flatten(0, 1)


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


def write_in_place(decoder: Any) -> None:
    """Rewrite the blocks of a decoder."""
    for part in (decoder.mid_block, *decoder.up_blocks):
        part.resnets = nn.ModuleList(InPlaceBlock(block) for block in part.resnets)
    decoder.conv_act = nn.SiLU(inplace=True)


def layers(model: Any) -> Iterator[nn.Module]:
    """The layers of a UNet or a decoder that do nearly all of the work. None lies in another."""
    for block in (*getattr(model, "down_blocks", ()), model.mid_block, *model.up_blocks):
        yield from block.resnets
        yield from getattr(block, "attentions", ())
