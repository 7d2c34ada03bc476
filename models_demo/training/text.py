"""Trains the text encoder: each token of a caption is to know all that the caption says."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from models_demo.architectures import text_encoder, tokenizer
from models_demo.captions import caption
from models_demo.training.course import Course
from models_demo.world import CHOICES, Combination, random_combination

_STEPS, _BATCH = 3000, 96


class _Reader(torch.nn.Module):
    """The encoder, and a guess at each property of a scene from each of its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = text_encoder()
        width = self.encoder.config.d_model
        self.guesses = torch.nn.ModuleDict(
            {name: torch.nn.Linear(width, len(choices) + 1) for name, choices in CHOICES.items()}
        )


def train_text_encoder(folder: Path, share: float) -> Any:
    """The encoder, trained for a share of its steps."""
    torch.manual_seed(0)
    course = Course("text", folder, _Reader(), steps=round(_STEPS * share), rate=2e-3)
    reader, words = course.model, tokenizer()

    def loss(_step: int, dice: random.Random) -> torch.Tensor:
        told = [caption(any_scene(dice), dice) for _ in range(_BATCH)]
        tokens = words([text for text, _ in told], padding=True, return_tensors="pt")
        found = reader.encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        used = tokens.attention_mask.bool()
        total = torch.zeros(())
        for name, guess in reader.guesses.items():
            wanted = torch.tensor([_number(name, said) for _, said in told])
            total += cross_entropy(guess(found[used]), wanted[:, None].expand_as(used)[used])
        return total

    course.finish(loss)
    return reader.encoder


def any_scene(dice: random.Random) -> Combination:
    """One that is not held out."""
    while (scene := random_combination(dice)).is_held_out:
        pass
    return scene


def _number(name: str, said: Mapping[str, str]) -> int:
    return CHOICES[name].index(said[name]) if name in said else len(CHOICES[name])
