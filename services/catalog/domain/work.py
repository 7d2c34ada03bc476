"""How much work an input asks for: what its time and its memory grow with."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class WorkUnknown(Exception):
    """The work of an input cannot be told: an expression has no value for it, or a negative or infinite one."""


@dataclass(frozen=True)
class WorkPart:
    """A part of the work of a version."""

    phase: str
    share: float
    """Of the example's model time, as expected before anything was measured. All parts add up to 1."""


@dataclass(frozen=True)
class Amounts:
    """How much work an input asks for. All amounts are finite and at least 0."""

    parts: tuple[float, ...]
    """Of each part, in the order of the version."""
    memory: float
    output_seconds: float | None
    """Length of the video; None when the version does not say."""


Formula = Callable[[Mapping[str, Any]], Amounts]
"""Amounts of inputs with the defaults filled in, in units of its own. Raises WorkUnknown."""


@dataclass(frozen=True)
class Work:
    """What the work of a version is made of, and how it follows from the inputs."""

    parts: tuple[WorkPart, ...]
    formula: Formula
    example: Mapping[str, Any]
    """Inputs of the example, with the defaults filled in."""
    defaults: Mapping[str, Any]
    inputs: frozenset[str]
    """Names of the inputs that time and memory depend on."""

    def of(self, inputs: Mapping[str, Any]) -> Amounts:
        """Amounts of some inputs; of the parts and of the memory as multiples of the example's. WorkUnknown."""
        found, unit = self.formula(self._complete(inputs)), self.formula(self.example)
        return Amounts(
            tuple(amount / one for amount, one in zip(found.parts, unit.parts, strict=True)),
            memory=found.memory / unit.memory,
            output_seconds=found.output_seconds,
        )

    @property
    def example_output_seconds(self) -> float | None:
        """Length of the example's video; None when the version does not say."""
        return self.formula(self.example).output_seconds

    @property
    def example_key(self) -> str:
        """The key of runs of the example."""
        return self.key_of(self.example)

    def key_of(self, shape: Mapping[str, Any]) -> str:
        """What a run with these inputs is compared by: equal where all is equal that time and memory depend on."""
        complete = self._complete(shape)
        return key_of({name: complete.get(name) for name in self.inputs})

    def _complete(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**self.defaults, **{name: value for name, value in inputs.items() if value is not None}}


def key_of(inputs: Mapping[str, Any]) -> str:
    """Inputs as text that is equal for equal inputs: 97.0 is 97, and what is None is left out."""
    exact = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in inputs.items()
        if value is not None
    }
    return json.dumps(exact, sort_keys=True, separators=(",", ":"))
