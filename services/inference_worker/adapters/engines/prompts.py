"""Prompts as the transformer reads them, made once each: the text encoder is by far the largest part of a model."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.functional import pad

PROMPT_TOKENS = 512
"""How many tokens of a text have an effect."""

_REMEMBERED_BYTES = 256 * 2**20


class Prompts:
    """Embeds texts as the pipeline does, and remembers the embeddings, but not the texts.

    `pipeline` is any of diffusers' that read their prompts with UMT5. `encoder` names its text encoder, weights and
    number format: embeddings of another one are other embeddings. While the text encoder is used, and only then,
    `at_work` holds.
    """

    def __init__(
        self,
        pipeline: Any,
        device: torch.device,
        encoder: str,
        *,
        at_work: Callable[[], AbstractContextManager[None]] = nullcontext,
        remembered_bytes: int = _REMEMBERED_BYTES,
    ) -> None:
        self._pipeline = pipeline
        self._device = device
        self._encoder = encoder
        self._at_work = at_work
        self._remembered_bytes = remembered_bytes
        self._bytes = 0
        self._embeddings: OrderedDict[str, torch.Tensor] = OrderedDict()

    @torch.no_grad()
    def embedding(self, text: str) -> torch.Tensor:
        """Shape (1, 512, channels), in the number format of the text encoder; zero where the text has no more tokens.

        Does not need the text encoder for a text that it remembers.
        """
        key = hashlib.sha256(f"{self._encoder}\0{text}".encode()).hexdigest()
        tokens = self._embeddings.get(key)
        if tokens is None:
            tokens = self._encoded(text)
            self._remember(key, tokens)
        else:
            self._embeddings.move_to_end(key)
        return pad(tokens.to(self._device), (0, 0, 0, PROMPT_TOKENS - len(tokens)))[None]

    def is_cut(self, text: str) -> bool:
        """Whether the text has more tokens than have an effect."""
        return len(self._pipeline.tokenizer(text).input_ids) > PROMPT_TOKENS

    def flops(self) -> float:
        """The arithmetic of embedding one text that it does not remember."""
        return 2.0 * PROMPT_TOKENS * self._pipeline.text_encoder.num_parameters(exclude_embeddings=True)

    def _encoded(self, text: str) -> torch.Tensor:
        """Shape (tokens, channels), on the CPU."""
        with self._at_work():
            embeddings, _ = self._pipeline.encode_prompt(
                text, do_classifier_free_guidance=False, max_sequence_length=PROMPT_TOKENS, device=self._device
            )
        embedding = embeddings[0].cpu()
        used = embedding.any(dim=1).nonzero()
        return embedding[: int(used.max()) + 1 if len(used) else 0].clone()

    def _remember(self, key: str, tokens: torch.Tensor) -> None:
        self._embeddings[key] = tokens
        self._bytes += tokens.nbytes
        while self._bytes > self._remembered_bytes:
            _, forgotten = self._embeddings.popitem(last=False)
            self._bytes -= forgotten.nbytes
