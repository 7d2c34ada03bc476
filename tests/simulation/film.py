"""What a render must come out as: the arithmetic of the simulated engine, without engine, worker or device."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PROMPT = "prompt"
"""The one input that may change from a checkpoint on."""


def noise(inputs: Mapping[str, Any]) -> bytes:
    """What the device begins with."""
    kept = sorted((name, value) for name, value in inputs.items() if name != PROMPT)
    return _digest(repr(kept).encode())


def step(state: bytes, number: int, inputs: Mapping[str, Any]) -> bytes:
    """What one denoising step makes of the one before."""
    return _digest(state, str(number).encode(), str(inputs[PROMPT]).encode())


def frames(state: bytes, count: int) -> bytes:
    """The frames, one byte each."""
    return (state * (count // len(state) + 1))[:count]


def video(shown: bytes) -> bytes:
    """The file that holds these frames."""
    return b"video:" + shown


def expected(inputs: Mapping[str, Any], base: "Base | None" = None) -> bytes:
    """The video of a render that nobody disturbed; of a branch, from the step it goes on from."""
    state, first = (base.state, base.step) if base else (noise(inputs), 0)
    for number in range(first + 1, int(inputs["num_inference_steps"]) + 1):
        state = step(state, number, inputs)
    return video(frames(state, int(inputs["num_frames"])))


@dataclass(frozen=True)
class Base:
    """Where a branch leaves the render it was made from."""

    state: bytes
    step: int

    @classmethod
    def of(cls, inputs: Mapping[str, Any], steps: int, before: "Base | None" = None) -> "Base":
        """How a render stands after `steps`."""
        state, first = (before.state, before.step) if before else (noise(inputs), 0)
        for number in range(first + 1, steps + 1):
            state = step(state, number, inputs)
        return cls(state, steps)


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(4) + part)
    return digest.digest()
