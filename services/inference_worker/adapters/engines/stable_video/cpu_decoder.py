"""Stable Video Diffusion's decoder as a CPU likes it: channels last, and memory written over where it can be.

The pictures are large and the arithmetic on each pixel small, so what counts is how often memory is passed through and,
even more, how much of it is new. The same numbers come out but for rounding.
"""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.functional import silu

from services.inference_worker.adapters.engines.stable_video.rewrites import (
    flatten_convolutions_over_time,
    put_channels_last,
)


class ChannelsLastNorm(nn.Module):
    """A group norm for large pictures with channels last, for which torch's own sums up in fp32 without end."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self._norm = norm

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features of shape (batch, channels, …, h, w) with channels last, normalized."""
        norm = self._norm
        broadcast = (*features.shape[:2], *[1] * (features.ndim - 2))
        mean = self._group_means(features)
        found = features - mean.to(features.dtype).view(broadcast)
        variance = self._group_means(found.square_())
        scale = norm.weight * (variance + norm.eps).rsqrt()
        shift = norm.bias - mean * scale
        scale, shift = (values.to(features.dtype).view(broadcast) for values in (scale, shift))
        return found.copy_(features).mul_(scale).add_(shift)

    def _group_means(self, features: torch.Tensor) -> torch.Tensor:
        """The mean of each channel's group, fp64, shape (batch, channels). Only rows of pixels are summed in fp32."""
        channels = features.movedim(1, -1).mean(dim=-2).double().flatten(1, -2).mean(dim=1)
        groups = channels.unflatten(1, (self._norm.num_groups, -1))
        return groups.mean(dim=2, keepdim=True).expand_as(groups).flatten(1)


class InPlaceBlock(nn.Module):
    """A decoder's block that writes over what it no longer needs. Such blocks know no time but that of frames."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self._within_frames, self._over_frames = block.spatial_res_block, block.temporal_res_block
        self._mixer = block.time_mixer

    def forward(self, hidden_states: torch.Tensor, image_only_indicator: torch.Tensor) -> torch.Tensor:
        """From features of shape (videos · frames, channels, h, w); `image_only_indicator` is (videos, frames)."""
        features = _convolved_twice(self._within_frames, hidden_states)
        shortcut = self._within_frames.conv_shortcut
        features += hidden_states if shortcut is None else shortcut(hidden_states)
        features = features.unflatten(0, image_only_indicator.shape).transpose(1, 2)
        mixed = _convolved_twice(self._over_frames, features)
        mixed += features
        share = self._mixer.get_alpha(image_only_indicator, features.ndim).to(features.dtype)
        if self._mixer.switch_spatial_to_temporal_mix:
            share = 1 - share
        return features.mul_(share).add_(mixed.mul_(1 - share)).transpose(1, 2).flatten(0, 1)


def cpu_decoder(decoder: Any) -> Any:
    """A copy of the decoder, with weights of its own: they are in another order."""
    found = copy.deepcopy(decoder)
    flatten_convolutions_over_time(found)
    put_channels_last(found)
    for part in (found.mid_block, *found.up_blocks):
        for block in part.resnets:
            for half in (block.spatial_res_block, block.temporal_res_block):
                half.norm1, half.norm2 = ChannelsLastNorm(half.norm1), ChannelsLastNorm(half.norm2)
        part.resnets = nn.ModuleList(InPlaceBlock(block) for block in part.resnets)
    found.conv_norm_out = ChannelsLastNorm(found.conv_norm_out)
    found.conv_act = nn.SiLU(inplace=True)
    return found


def _convolved_twice(half: Any, features: torch.Tensor) -> torch.Tensor:
    """Half a block without its shortcut; `features` stay."""
    between = half.conv1(silu(half.norm1(features), inplace=True))
    return half.conv2(silu(half.norm2(between), inplace=True))
