"""The decoder of Wan's VAE, one latent frame after the other: no frame waits for the end of the video."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import conv2d, silu
from torch.utils.flop_counter import FlopCounterMode

from services.inference_worker.adapters.engines.device import to_uint8

_SHORTEST = 1e-12
"""Vectors are taken to be at least this long when they are divided by their length."""


class WanDecoder(nn.Module):
    """Decodes latents with the weights of a diffusers `AutoencoderKLWan`, of which it has a copy of its own.

    It makes the numbers of `vae.decode`, but for rounding. A convolution over three frames is done as one over each
    frame, whose parts are added up as the frames come: ordinary convolutions are many times faster than those in three
    dimensions, above all on the CPU.

    VAEs of Wan 2.2 are built of other blocks (`is_residual`) and are not supported.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        decoder = vae.decoder
        self.channels: int = vae.config.z_dim
        self._patch_size: int = vae.config.patch_size or 1
        like = decoder.conv_in.weight.detach()
        self.mean = _by_channel(like.new_tensor(vae.config.latents_mean))
        self.deviation = _by_channel(like.new_tensor(vae.config.latents_std))
        self._stages = nn.ModuleList(
            [
                _Convolution(vae.post_quant_conv),
                _Convolution(decoder.conv_in),
                *_across(decoder.mid_block),
                *(stage for up_block in decoder.up_blocks for stage in _upwards(up_block)),
                _Activation(decoder.norm_out),
                _Convolution(decoder.conv_out),
            ]
        )
        self._flops_per_pixel = self._count_flops()

    def begin(self) -> "WanDecoding":
        """Begin a video."""
        return WanDecoding(self._decoded)

    def stills(self, latents: torch.Tensor) -> torch.Tensor:
        """Some latents, shape (n, channels, h, w), each as a video of one frame: (n, 3, height, width) in -1…1."""
        return torch.cat([self.begin().frames_of(latent[None]) for latent in latents])

    def flops(self, latent_frames: int, height: int, width: int) -> float:
        """The arithmetic of decoding so many latent frames of this size; without attention, a small part of it."""
        first, other = self._flops_per_pixel
        return height * width * (first + (latent_frames - 1) * other)

    def _count_flops(self) -> tuple[float, float]:
        """For the first and any other latent frame, counted on frames of one pixel."""
        probe, decoding, counts = self.mean, self.begin(), []
        for _ in range(2):
            with FlopCounterMode(display=False) as counter:
                decoding.frames_of(probe)
            counts.append(float(counter.get_total_flops()))
        return counts[0], counts[1]

    def _decoded(self, latent: torch.Tensor, past: "_Past") -> torch.Tensor:
        frames = latent.to(self.mean) / (1.0 / self.deviation) + self.mean
        for stage in self._stages:
            frames = stage(frames, past)
        past.is_empty = False
        return _without_patches(frames, self._patch_size).clamp_(-1.0, 1.0)


class WanDecoding:
    """One video under way, fed its latent frames in order."""

    def __init__(self, decoded: Callable[[torch.Tensor, "_Past"], torch.Tensor]) -> None:
        self._decoded = decoded
        self._past = _Past()

    @torch.no_grad()
    def frames_of(self, latent: torch.Tensor) -> torch.Tensor:
        """The frames that the next latent frame stands for, one for the first and four for each after it.

        Takes shape (1, channels, h, w); returns (frames, 3, height, width) in -1…1.
        """
        return self._decoded(latent, self._past)


def pixels_of(frames: torch.Tensor, height: int, width: int) -> NDArray[np.uint8]:
    """Frames of shape (frames, 3, ≥ height, ≥ width) in -1…1 as RGB of shape (frames, height, width, 3).

    What is too much is cut off at the right and the bottom.
    """
    return to_uint8(frames[..., :height, :width].permute(0, 2, 3, 1)).contiguous().cpu().numpy()


class _Past:
    """What the earlier frames of a video add to the sums of the next frame and the one after, by convolution."""

    def __init__(self) -> None:
        self.is_empty = True
        self.parts: dict[_Convolution, tuple[torch.Tensor, torch.Tensor]] = {}


class _Convolution(nn.Module):
    """A convolution over space and the last one or three frames, of which those before the first are zero."""

    def __init__(self, convolution: Any) -> None:
        super().__init__()
        weight = convolution.weight.detach()
        self._channels, _, self._reach, height, width = weight.shape
        by_age = weight.permute(2, 0, 1, 3, 4).flatten(0, 1)  # the oldest frame's weights come first
        self.weight = _fixed(by_age.clone(memory_format=torch.channels_last))
        self.bias = _fixed(by_age.new_zeros(len(by_age)))
        self.bias[-self._channels :] = convolution.bias.detach()
        self._padding = (height // 2, width // 2)

    def forward(self, frames: torch.Tensor, past: _Past) -> torch.Tensor:
        parts = conv2d(frames, self.weight, self.bias, padding=self._padding)
        if self._reach == 1:
            return parts
        for_second, for_next, own = parts.split(self._channels, dim=1)
        zero = own.new_zeros(())
        owed_next, owed_second = past.parts.get(self, (zero, zero))
        sums = torch.empty_like(own, memory_format=torch.channels_last)
        torch.add(own[:1], owed_next, out=sums[:1])
        torch.add(own[1:], for_next[:-1], out=sums[1:])
        sums[1:2] += owed_second
        sums[2:] += for_second[:-2]
        past.parts[self] = (
            for_next[-1:] + (for_second[-2:-1] if len(frames) > 1 else owed_second),
            for_second[-1:].clone(),
        )
        return sums


class _Activation(nn.Module):
    """Pixels brought to one length, scaled by channel, through SiLU."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.scale = _by_channel(norm.gamma.detach() * norm.scale)

    def forward(self, frames: torch.Tensor, past: _Past) -> torch.Tensor:
        lengths = torch.linalg.vector_norm(frames, dim=1, keepdim=True).clamp_min_(_SHORTEST)
        return silu((frames / lengths).mul_(self.scale), inplace=True)


class _Residual(nn.Module):
    """Two activations and convolutions, and a way around them."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self._path = nn.ModuleList(
            [_Activation(block.norm1), _Convolution(block.conv1), _Activation(block.norm2), _Convolution(block.conv2)]
        )
        self._around = None if block.in_dim == block.out_dim else _Convolution(block.conv_shortcut)

    def forward(self, frames: torch.Tensor, past: _Past) -> torch.Tensor:
        changed = frames
        for stage in self._path:
            changed = stage(changed, past)
        return changed.add_(frames if self._around is None else self._around(frames, past))


class _Attention(nn.Module):
    """Pixels of a frame look at each other."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self._block = copy.deepcopy(block)

    def forward(self, frames: torch.Tensor, past: _Past) -> torch.Tensor:
        attended = self._block(frames.transpose(0, 1)[None])[0].transpose(0, 1)
        return attended.contiguous(memory_format=torch.channels_last)


class _Upsampling(nn.Module):
    """Twice the height and width, and twice the frames but for the first of a video."""

    def __init__(self, resample: Any) -> None:
        super().__init__()
        self._doubling = _Convolution(resample.time_conv) if resample.mode == "upsample3d" else None
        self._space = copy.deepcopy(resample.resample)

    def forward(self, frames: torch.Tensor, past: _Past) -> torch.Tensor:
        if self._doubling and not past.is_empty:
            pairs = self._doubling(frames, past)
            frames = torch.stack(pairs.chunk(2, dim=1), dim=1).flatten(0, 1)
        return self._space(frames)


def _across(mid_block: Any) -> Iterator[nn.Module]:
    first, *rest = mid_block.resnets
    yield _Residual(first)
    for attention, resnet in zip(mid_block.attentions, rest, strict=True):
        yield _Attention(attention)
        yield _Residual(resnet)


def _upwards(up_block: Any) -> Iterator[nn.Module]:
    yield from (_Residual(resnet) for resnet in up_block.resnets)
    yield from (_Upsampling(resample) for resample in up_block.upsamplers or [])


def _by_channel(values: torch.Tensor) -> nn.Buffer:
    return _fixed(values.view(1, -1, 1, 1))


def _fixed(values: torch.Tensor) -> nn.Buffer:
    """Numbers that go where their module goes."""
    return nn.Buffer(values, persistent=False)


def _without_patches(frames: torch.Tensor, patch_size: int) -> torch.Tensor:
    """(n, 3·p·p, h, w) to (n, 3, h·p, w·p), for VAEs that work on patches of p × p pixels."""
    count, channels, height, width = frames.shape
    split = frames.reshape(count, channels // patch_size**2, patch_size, patch_size, height, width)
    return split.permute(0, 1, 4, 3, 5, 2).reshape(count, -1, height * patch_size, width * patch_size)
