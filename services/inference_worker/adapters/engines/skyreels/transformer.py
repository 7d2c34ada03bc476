"""The transformer of SkyReels-V2 without its waste: frames attend to what they see, and what is known is not redone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import conv2d, scaled_dot_product_attention

from services.inference_worker.adapters.engines.skyreels.layer import (
    after_attention,
    before_attention,
    between_attentions,
    keys_and_values_of_text,
)

KeysAndValues = tuple[torch.Tensor, torch.Tensor]
"""Both of shape (branches, heads, tokens, channels of a head)."""

Region = Callable[..., Any]

_KNOWN_FPS = 16
"""The model tells this frame rate from all others, and those not from each other."""


@dataclass(frozen=True)
class Setting:
    """What stays the same in all passes over a window."""

    text: Sequence[KeysAndValues]
    """Of each layer."""
    rate: torch.Tensor
    """What the frame rate adds to how the layers are modulated, shape (1, 6, channels)."""
    rotation: tuple[torch.Tensor, torch.Tensor]
    """Cosines and sines of the positions of all tokens, each of shape (1, tokens, 1, half the channels of a head)."""
    latent_frames: int
    block: int
    """A frame sees all frames up to the end of its block."""


class Kept:
    """Keys and values of a window's first frames, which do not change any more, with room for those of all others."""

    def __init__(self, latent_frames: int) -> None:
        self.frames = 0
        self._latent_frames = latent_frames
        self._layers: dict[int, KeysAndValues] = {}

    def extended(self, layer: int, new: KeysAndValues, frames: int) -> KeysAndValues:
        """Those kept and then the new ones, of the next `frames`, which stay kept if `self.frames` grows by as many."""
        per_frame = new[0].shape[2] // frames
        if layer not in self._layers:
            keys, values = (_room_like(tokens, per_frame * self._latent_frames) for tokens in new)
            self._layers[layer] = keys, values
        begin, end = per_frame * self.frames, per_frame * (self.frames + frames)
        keys, values = self._layers[layer]
        keys[:, :, begin:end], values[:, :, begin:end] = new
        return keys[:, :, :end], values[:, :, :end]


class SkyReelsTransformer:
    """Computes what a diffusers `SkyReelsV2Transformer3DModel` does with diffusion forcing, but for rounding.

    The model stays as it is; above all, no block size is written into its config.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._before = before_attention
        self._between = between_attentions
        self._after = after_attention

    @property
    def dtype(self) -> torch.dtype:
        """The number format of latents that it takes and gives."""
        return self._model.dtype

    def compile_regions(self, compile: Callable[[Region], Region]) -> None:  # noqa: A002 — it is what it does
        """Replace the parts of its layers by what `compile` makes of them."""
        self._before = compile(self._before)
        self._between = compile(self._between)
        self._after = compile(self._after)

    def read(self, embeddings: torch.Tensor) -> Sequence[KeysAndValues]:
        """What the layers look at of prompts, one for each branch, shape (branches, tokens, channels)."""
        text = self._model.condition_embedder.text_embedder(embeddings.to(self.dtype))
        return [keys_and_values_of_text(layer, text) for layer in self._model.blocks]

    def setting(
        self, text: Sequence[KeysAndValues], *, fps: int, latent_frames: int, height: int, width: int, block: int
    ) -> Setting:
        """The setting of a window with latents of this size."""
        model, like = self._model, text[0][0]
        rate = torch.zeros((), dtype=like.dtype, device=like.device)
        if model.config.inject_sample_info:
            number = torch.tensor([0 if fps == _KNOWN_FPS else 1], device=like.device)
            rate = model.fps_projection(model.fps_embedding(number)).unflatten(1, (6, -1))
        cosines, sines = model.rope(torch.empty(1, 1, latent_frames, height, width, device="meta"))
        return Setting(text, rate, (cosines[..., 0::2], sines[..., 1::2]), latent_frames, block)

    def __call__(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        setting: Setting,
        *,
        kept: Kept | None,
        wanted: range,
        check: Callable[[], None],
    ) -> torch.Tensor:
        """What the model predicts for the `wanted` frames of a window.

        The latents, of shape (1, channels, frames, h, w), are those of the frames after the kept ones, or of the first
        ones; so are the timesteps, one a frame, whole numbers. Returns shape (branches, channels, wanted, h, w). If no
        frame is wanted, only keys and values are made. `check` is called before each layer and may raise.
        """
        model = self._model
        first, count = (kept.frames if kept else 0), latents.shape[2]
        hidden = self._embedded(latents)
        time, modulation = self._modulation(timesteps, setting)
        tokens = hidden.shape[2]
        rotation = [part[:, first * tokens : (first + count) * tokens] for part in setting.rotation]
        last = len(model.blocks) - 1
        for number, (layer, text) in enumerate(zip(model.blocks, setting.text, strict=True)):
            check()
            changes = (layer.scale_shift_table + modulation.float()).transpose(0, 1).unsqueeze(2)
            queries, keys, values = self._before(layer, hidden, changes[0], changes[1], *rotation)
            if kept:
                keys, values = kept.extended(number, (keys, values), count)
            if number == last:
                if not wanted:
                    return latents[:, :, :0]
                here = slice(wanted.start - first, wanted.stop - first)
                hidden, changes, time = hidden[:, here], changes[:, here], time[here]
                queries = queries[:, :, here.start * tokens : here.stop * tokens]
            asking = wanted if number == last else range(first, first + count)
            attended = _attended(queries, keys, values, asking, setting, tokens)
            hidden, queries = self._between(layer, hidden, attended, changes[2])
            if len(hidden) < len(text[0]):  # until here, in the first layer, the branches are the same
                hidden, queries = (same.repeat(len(text[0]), 1, 1, 1) for same in (hidden, queries))
            attended = scaled_dot_product_attention(queries, *text)
            hidden = self._after(layer, hidden, attended, *changes[3:])
        return self._prediction(hidden, time, latents.shape)

    def _embedded(self, latents: torch.Tensor) -> torch.Tensor:
        """One token a patch: (1, frames, tokens, channels)."""
        patches = self._model.patch_embedding
        frames = latents[0].transpose(0, 1)
        return (
            conv2d(frames, patches.weight[:, :, 0], patches.bias, patches.stride[1:]).flatten(2).transpose(1, 2)[None]
        )

    def _modulation(self, timesteps: torch.Tensor, setting: Setting) -> tuple[torch.Tensor, torch.Tensor]:
        """The embedding of each frame's time, (frames, channels), and how it modulates, (frames, 6, channels)."""
        embedder = self._model.condition_embedder
        waves = embedder.timesteps_proj(timesteps).to(next(embedder.time_embedder.parameters()).dtype)
        time = embedder.time_embedder(waves).to(self.dtype)
        return time, embedder.time_proj(embedder.act_fn(time)).unflatten(-1, (6, -1)) + setting.rate

    def _prediction(self, hidden: torch.Tensor, time: torch.Tensor, size: torch.Size) -> torch.Tensor:
        model = self._model
        shift, scale = (model.scale_shift_table + time.unsqueeze(1)).transpose(0, 1).unsqueeze(2)
        patches = model.proj_out((model.norm_out(hidden.float()) * (1 + scale) + shift).type_as(hidden))
        _, down, across = model.config.patch_size
        grid = patches.unflatten(2, (size[3] // down, size[4] // across)).unflatten(-1, (down, across, -1))
        return grid.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)


def _attended(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, asking: range, setting: Setting, tokens: int
) -> torch.Tensor:
    """What the frames that ask see. Block by block, each up to its end, so that nothing has to be masked."""
    parts, begin = [], asking.start
    while begin < asking.stop:
        seen = min((begin // setting.block + 1) * setting.block, setting.latent_frames)
        end = min(seen, asking.stop)
        mine = slice((begin - asking.start) * tokens, (end - asking.start) * tokens)
        visible = slice(seen * tokens)
        parts.append(scaled_dot_product_attention(queries[:, :, mine], keys[:, :, visible], values[:, :, visible]))
        begin = end
    return torch.cat(parts, dim=2)


def _room_like(tokens: torch.Tensor, count: int) -> torch.Tensor:
    """Room for so many tokens, with the heads of each side by side."""
    branches, heads, _, channels = tokens.shape
    return tokens.new_empty(branches, count, heads, channels).transpose(1, 2)
