"""Where figures are noted, so that nothing that fails later loses them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

SVD, SKYREELS = "stabilityai-stable-video-diffusion", "skywork-skyreels-v2"
"""Slugs of the models."""
OURS, OURS_COMPILED, THEIRS = "ours", "ours compiled", "diffusers"
"""Ways to make a video."""
WHOLE, FIRST_FRAMES, START, WARM_START = "whole render", "first frames", "start", "start, imports done"
"""What is compared between them."""


_SHORT_NAMES = {SVD: "svd", SKYREELS: "skyreels"}


def named(slug: str, way: str, part: str) -> str:
    """The name of a figure of a model."""
    return f"{_SHORT_NAMES[slug]}, {way}: {part}"


def rate_of(dtype: torch.dtype) -> str:
    """The name of the rate that floors are worked out from."""
    return f"matmul in {str(dtype).removeprefix('torch.')}"


@dataclass(frozen=True)
class Figure:
    """A number that was measured, or worked out of such numbers."""

    value: float
    unit: str
    remark: str = ""
    extrapolated: bool = False
    """Whether only a part was measured and the whole worked out of it."""


class Notebook:
    """Figures by name. Each is printed as it comes, and the file, if there is one, is whole after each.

    A file that is there already is gone on with.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self.figures: dict[str, Figure] = {}
        self.facts: dict[str, str] = {}
        """What the figures rely on."""
        self.failures: dict[str, str] = {}
        """Why something was not measured."""
        self.read_again()

    def note(self, name: str, value: float, unit: str = "s", remark: str = "", *, extrapolated: bool = False) -> None:
        """Keep a figure. Of two with the same name the later one counts."""
        self.figures[name] = Figure(float(value), unit, remark, extrapolated)
        remark = " ".join(filter(None, ("extrapolated:" if extrapolated else "", remark)))
        print(f"  {name:70}{value:11.4g} {unit:9}{remark}".rstrip(), flush=True)
        self._keep()

    def fact(self, name: str, value: object) -> None:
        """Keep what figures rely on."""
        self.facts[name] = str(value)
        print(f"  {name}: {value}", flush=True)
        self._keep()

    def failed(self, name: str, why: str) -> None:
        """Keep that something was not measured."""
        self.failures[name] = why
        print(f"  {name}: not measured: {why}", flush=True)
        self._keep()

    def add(self, written: Mapping[str, Any]) -> None:
        """Take over what another notebook has in its file."""
        self.figures |= {name: Figure(**figure) for name, figure in written["figures"].items()}
        self.facts |= written["facts"]
        self.failures |= written["failures"]
        self._keep()

    def read_again(self) -> None:
        """Take over what another process has added to the file."""
        if self._file and self._file.exists():
            self.add(json.loads(self._file.read_text()))

    def _keep(self) -> None:
        if self._file:
            figures = {name: asdict(figure) for name, figure in self.figures.items()}
            draft = self._file.with_suffix(".draft")
            draft.write_text(json.dumps({"facts": self.facts, "figures": figures, "failures": self.failures}, indent=1))
            draft.replace(self._file)
