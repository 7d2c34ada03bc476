"""What passes of the transformer cost, counted from their shapes."""

from dataclasses import dataclass
from typing import Any

from services.inference_worker.adapters.engines.prompts import PROMPT_TOKENS
from services.inference_worker.adapters.engines.skyreels.schedule import NO_FRAMES, Iteration


@dataclass(frozen=True)
class Arithmetic:
    """Counts floating-point operations for latents of one size. Elementwise ones, which are few, are left out."""

    layers: int
    channels: int
    hidden_channels: int
    tokens_per_frame: int
    branches: int
    latent_frames: int
    block: int
    """A frame sees all frames up to the end of its block."""

    @classmethod
    def of(cls, config: Any, *, height: int, width: int, branches: int, latent_frames: int, block: int) -> "Arithmetic":
        """For a window of latents of this size, given the config of a `SkyReelsV2Transformer3DModel`."""
        return cls(
            layers=config.num_layers,
            channels=config.num_attention_heads * config.attention_head_dim,
            hidden_channels=config.ffn_dim,
            tokens_per_frame=(height // config.patch_size[1]) * (width // config.patch_size[2]),
            branches=branches,
            latent_frames=latent_frames,
            block=block,
        )

    def flops(self, iteration: Iteration) -> float:
        """An iteration of the window, with what it remembers."""
        remembering = self._pass(iteration.remembered, NO_FRAMES) if iteration.remembered else 0.0
        return remembering + self._pass(iteration.seen, iteration.moved)

    def _pass(self, seen: range, wanted: range) -> float:
        whole = self._before(seen) + self._attention(seen) + self._after(seen)
        last = self._before(seen) + self._attention(wanted) + self._after(wanted)
        return self.branches * ((self.layers - 1) * whole + last) - self._same_in_all_branches(seen)

    def _same_in_all_branches(self, seen: range) -> float:
        """What the branches share in the first layer, until they look at their prompts."""
        return (self.branches - 1) * (self._before(seen) + self._attention(seen)) if self.layers > 1 else 0.0

    def _before(self, frames: range) -> float:
        """Queries, keys and values."""
        return 2 * 3 * self.channels**2 * self._tokens(frames)

    def _attention(self, frames: range) -> float:
        seen = (min((frame // self.block + 1) * self.block, self.latent_frames) for frame in frames)
        return 4 * self.channels * self.tokens_per_frame**2 * sum(seen)

    def _after(self, frames: range) -> float:
        """The way out of the attention, the attention to the text with its ways in and out, and the feed-forward."""
        linear = 2 * (3 * self.channels**2 + 2 * self.channels * self.hidden_channels)
        return (linear + 4 * self.channels * PROMPT_TOKENS) * self._tokens(frames)

    def _tokens(self, frames: range) -> int:
        return len(frames) * self.tokens_per_frame
