"""Reading the fields of a request, and what all models of video have in common."""

import math
from collections.abc import Iterable, Mapping

from services.chassis.errors import InvalidInput, Violation

TEMPORAL_FACTOR = 4
"""Frames that share one latent frame in Wan's VAE, which SkyReels-V2 has too; the first frame has one of its own."""

LARGEST_SIDE = 4096
LARGEST_SEED = 2**53 - 1
"""Inputs travel as doubles, which are exact up to here."""


def latent_frames(frames: int) -> int:
    """How many latent frames make `frames` frames."""
    return (frames - 1) // TEMPORAL_FACTOR + 1


def frames_of(latent_frames: int) -> int:
    """How many frames so many latent frames make, at least one."""
    return (latent_frames - 1) * TEMPORAL_FACTOR + 1


class Fields:
    """Reads typed values and remembers what is wrong. Values never appear in what it says."""

    def __init__(self, inputs: Mapping[str, object]) -> None:
        self._inputs = dict(inputs)
        self.violations: list[Violation] = []

    def refuse(self, field: str, description: str) -> None:
        """Something is wrong with a field."""
        self.violations.append(Violation(field, description))

    def finish(self) -> None:
        """Refuse what nobody asked for, then raise InvalidInput when anything was wrong."""
        for field in self._inputs:
            self.refuse(field, "is no input of this model")
        if self.violations:
            raise InvalidInput(self.violations)

    def text(self, field: str, default: str | None = None) -> str:
        """A field that holds text, and is needed unless there is a default."""
        value = self._taken(field, default)
        if isinstance(value, str):
            return value
        self.refuse(field, "is needed" if value is None else "must be text")
        return ""

    def one_of(self, field: str, default: str, choices: Iterable[str]) -> str:
        """A field that holds one of some words."""
        value = self._taken(field, default)
        if isinstance(value, str) and value in {*choices}:
            return value
        self.refuse(field, f"must be one of {', '.join(choices)}")
        return default

    def number(self, field: str, default: float, *, low: float, high: float) -> float:
        """A field that holds a number within bounds."""
        value = self._taken(field, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            self.refuse(field, "must be a number")
            return default
        if not low <= value <= high:
            self.refuse(field, f"must be from {low} to {high}")
        return float(value)

    def whole(
        self, field: str, default: int, *, low: int, high: int, multiple_of: int = 1, four_k_plus_one: bool = False
    ) -> int:
        """A field that holds a whole number within bounds."""
        value = self._taken(field, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
            self.refuse(field, "must be a whole number")
            return default
        value = int(value)
        if not low <= value <= high:
            self.refuse(field, f"must be from {low} to {high}")
        elif value % multiple_of:
            self.refuse(field, f"must be a multiple of {multiple_of}")
        elif four_k_plus_one and value % TEMPORAL_FACTOR != 1:
            self.refuse(field, f"must be a multiple of {TEMPORAL_FACTOR} plus 1, such as 81 or 97")
        return value

    def whole_or_none(self, field: str, *, low: int, high: int, four_k_plus_one: bool = False) -> int | None:
        """As `whole`, of a field that may be left out."""
        if self._inputs.get(field) is None:
            self._inputs.pop(field, None)
            return None
        return self.whole(field, low, low=low, high=high, four_k_plus_one=four_k_plus_one)

    def _taken(self, field: str, default: object) -> object:
        value = self._inputs.pop(field, None)
        return default if value is None else value
