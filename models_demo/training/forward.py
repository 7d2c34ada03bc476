"""The forward pass of the text-to-video transformers for training: many videos at once, each frame with its own noise.

The same arithmetic as the models' own (a test compares them), which would repeat what depends on a frame for each
token, and attend to the 512 places of a text of which most are empty.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from models_demo.architectures import TEXT_TOKENS


@dataclass(frozen=True)
class Texts:
    """Embedded texts. The last place stands for all empty ones of the 512."""

    embeddings: torch.Tensor
    """Shape (texts, tokens + 1, channels)."""
    weight: torch.Tensor
    """What is added to the logits of attention to each place, shape (texts, 1, 1, tokens + 1)."""


@torch.no_grad()
def embedded(text_encoder: Any, tokenizer: Any, texts: list[str]) -> Texts:
    """The embeddings that a pipeline makes of texts."""
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=TEXT_TOKENS, return_tensors="pt")
    mask = tokens.attention_mask
    found = text_encoder(tokens.input_ids, mask).last_hidden_state * mask.unsqueeze(-1)
    embeddings = torch.cat((found, torch.zeros_like(found[:, :1])), dim=1)
    empty = (TEXT_TOKENS - mask.sum(dim=1, keepdim=True)).clamp(min=1).log()
    weight = torch.cat(((1 - mask) * -1e9, empty), dim=1)
    return Texts(embeddings, weight[:, None, None])


def timesteps(levels: torch.Tensor) -> torch.Tensor:
    """Those at which the models expect these shares of noise."""
    return (levels * 1000).round().clamp(max=999)


def predicted(
    model: Any, latents: torch.Tensor, timesteps: torch.Tensor, texts: Texts, *, slow: torch.Tensor, block: int | None
) -> torch.Tensor:
    """What the model predicts for latents of shape (videos, channels, frames, h, w), of timesteps (videos, frames).

    `slow` says which videos have 16 frames a second. With a `block` frames see those up to the end of their block.
    """
    videos, _, frames, height, width = latents.shape
    embedder = model.condition_embedder
    time = embedder.time_embedder(embedder.timesteps_proj(timesteps.flatten()).to(latents.dtype))
    modulation = embedder.time_proj(embedder.act_fn(time)).view(videos, frames, 1, 6, -1)
    if hasattr(model, "fps_embedding"):
        rate = model.fps_projection(model.fps_embedding((~slow).long()))
        modulation = modulation + rate.view(videos, 1, 1, 6, -1)
    cosines, sines = model.rope(latents)
    rotation = (cosines[..., 0::2], sines[..., 1::2])
    text = embedder.text_embedder(texts.embeddings)
    hidden = model.patch_embedding(latents).flatten(3).permute(0, 2, 3, 1)  # videos, frames, tokens, channels
    mask = None
    if block is not None:
        ends = torch.arange(frames) // block
        mask = (ends[:, None] >= ends[None, :]).repeat_interleave(hidden.shape[2], 0)
        mask = mask.repeat_interleave(hidden.shape[2], 1)
    for layer in model.blocks:
        changes = (layer.scale_shift_table + modulation).unbind(3)
        hidden = _layer(layer, hidden, changes, rotation, mask, text, texts.weight)
    shift, scale = (model.scale_shift_table + time.view(videos, frames, 1, 1, -1)).unbind(3)
    patches = model.proj_out(model.norm_out(hidden) * (1 + scale) + shift)
    grid = patches.unflatten(2, (height // 2, width // 2)).unflatten(-1, (2, 2, -1))
    return grid.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)


def _layer(
    layer: Any,
    hidden: torch.Tensor,
    changes: tuple[torch.Tensor, ...],
    rotation: tuple[torch.Tensor, torch.Tensor],
    mask: torch.Tensor | None,
    text: torch.Tensor,
    text_weight: torch.Tensor,
) -> torch.Tensor:
    own, other = layer.attn1, layer.attn2
    size = hidden.shape[1:3]
    normed = (layer.norm1(hidden) * (1 + changes[1]) + changes[0]).flatten(1, 2)
    queries = _turned(_by_head(own.norm_q(own.to_q(normed)), own.heads), *rotation)
    keys = _turned(_by_head(own.norm_k(own.to_k(normed)), own.heads), *rotation)
    values = _by_head(own.to_v(normed), own.heads)
    attended = _attended(queries, keys, values, mask)
    hidden = hidden + own.to_out[0](attended).unflatten(1, size) * changes[2]
    queries = _by_head(other.norm_q(other.to_q(layer.norm2(hidden).flatten(1, 2))), other.heads)
    keys = _by_head(other.norm_k(other.to_k(text)), other.heads)
    values = _by_head(other.to_v(text), other.heads)
    attended = _attended(queries, keys, values, text_weight.to(queries.dtype))
    hidden = hidden + other.to_out[0](attended).unflatten(1, size)
    return hidden + layer.ffn(layer.norm3(hidden) * (1 + changes[4]) + changes[3]) * changes[5]


def _by_head(tokens: torch.Tensor, heads: int) -> torch.Tensor:
    return tokens.unflatten(2, (heads, -1))


def _attended(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    queries, keys, values = (part.transpose(1, 2) for part in (queries, keys, values))
    scale = 1 / math.sqrt(queries.shape[-1])
    return scaled_dot_product_attention(queries, keys, values, mask, scale=scale).transpose(1, 2).flatten(2)


def _turned(tokens: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    even, odd = tokens.unflatten(-1, (-1, 2)).unbind(-1)
    return (
        torch.stack((even * cosines - odd * sines, even * sines + odd * cosines), dim=-1).flatten(-2).to(tokens.dtype)
    )
