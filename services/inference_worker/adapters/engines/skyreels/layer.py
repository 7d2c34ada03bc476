"""The parts of a transformer layer around its two attentions: pure functions, each worth a kernel of its own.

Hidden states have the shape (branches, frames, tokens of a frame, channels), what changes them by frame (frames, 1,
channels). Queries, keys and values have (branches, heads, tokens, channels of a head). The arithmetic, down to where
numbers are rounded, is that of diffusers' `SkyReelsV2TransformerBlock`.
"""

from typing import Any

import torch


def before_attention(
    layer: Any,
    hidden: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    cosines: torch.Tensor,
    sines: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values. Positions come as cosines and sines, (1, tokens, 1, half the channels of a head)."""
    attention = layer.attn1
    normed = (layer.norm1(hidden.float()) * (1 + scale) + shift).type_as(hidden).flatten(1, 2)
    queries = _by_head(attention.norm_q(attention.to_q(normed)), attention)
    keys = _by_head(attention.norm_k(attention.to_k(normed)), attention)
    values = _by_head(attention.to_v(normed), attention)
    turned = (_turned(queries, cosines, sines), _turned(keys, cosines, sines))
    return turned[0].transpose(1, 2), turned[1].transpose(1, 2), values.transpose(1, 2)


def between_attentions(
    layer: Any, hidden: torch.Tensor, attended: torch.Tensor, gate: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The hidden states after the first attention, and the queries of the second, which is to the text."""
    attention = layer.attn2
    change = layer.attn1.to_out[0](_like_hidden(attended, hidden))
    hidden = (hidden.float() + change * gate).type_as(hidden)
    normed = layer.norm2(hidden.float()).type_as(hidden).flatten(1, 2)
    return hidden, _by_head(attention.norm_q(attention.to_q(normed)), attention).transpose(1, 2)


def after_attention(
    layer: Any,
    hidden: torch.Tensor,
    attended: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    gate: torch.Tensor,
) -> torch.Tensor:
    """The hidden states after the layer."""
    hidden = hidden + layer.attn2.to_out[0](_like_hidden(attended, hidden))
    normed = (layer.norm3(hidden.float()) * (1 + scale) + shift).type_as(hidden)
    return (hidden.float() + layer.ffn(normed).float() * gate).type_as(hidden)


def keys_and_values_of_text(layer: Any, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the second attention looks at. Takes the text in shape (branches, tokens, channels)."""
    attention = layer.attn2
    keys = _by_head(attention.norm_k(attention.to_k(text)), attention)
    values = _by_head(attention.to_v(text), attention)
    return keys.transpose(1, 2), values.transpose(1, 2)


def _by_head(tokens: torch.Tensor, attention: Any) -> torch.Tensor:
    return tokens.unflatten(2, (attention.heads, -1))


def _turned(tokens: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Each pair of channels turned by the angle of the token's position."""
    even, odd = tokens.unflatten(-1, (-1, 2)).unbind(-1)
    pairs = torch.stack((even * cosines - odd * sines, even * sines + odd * cosines), dim=-1)
    return pairs.flatten(-2).type_as(tokens)


def _like_hidden(attended: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    return attended.transpose(1, 2).flatten(2).unflatten(1, hidden.shape[1:3]).type_as(hidden)
