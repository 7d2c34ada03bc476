"""The last page: each model beside diffusers, the figures of its page, the floor and the target."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import yaml

from bench.gpu.notebook import (
    FIRST_FRAMES,
    OURS,
    OURS_COMPILED,
    SKYREELS,
    START,
    SVD,
    THEIRS,
    WARM_START,
    WHOLE,
    Notebook,
    named,
    rate_of,
)
from services.chassis.config import REPOSITORY

GPU = "H200"
"""The one whose published figures and targets stand in the table."""

_WAYS = (OURS, OURS_COMPILED, THEIRS)
_COLUMNS = (*_WAYS, "page", "floor", "target")
_LABEL_WIDTH, _WIDTH = 34, 15


@dataclass(frozen=True)
class Line:
    """Seconds that are compared, and with what."""

    label: str
    part: str = ""
    """Of the figures; none for a line that has no measured ones."""
    published: str = ""
    """Where the catalogue has the page's figure."""
    petaflops: float = 0.0
    """The arithmetic of the page's request, in 10¹⁵ operations, counted from the shapes."""
    target: str = ""


FORMATS = {SVD: torch.float16, SKYREELS: torch.bfloat16}
"""Whose rate of multiplication the floor is worked out from."""

LINES: dict[str, tuple[Line, ...]] = {
    SVD: (
        Line("whole render, warm", WHOLE, "model_ms", petaflops=4.17, target="11, then 8.5"),
        Line("start, libraries imported before", WARM_START, target="4"),
        Line("start of a process", START, "cold_start_ms"),
    ),
    SKYREELS: (
        Line("whole render, warm", WHOLE, "model_ms", petaflops=17.9, target="40, then 32"),
        Line("the same with diffusers' waste", petaflops=49.4),
        Line("first 17 frames", FIRST_FRAMES, petaflops=6.6, target="15, then 12"),
        Line("start, libraries imported before", WARM_START, target="10"),
        Line("start of a process", START, "cold_start_ms"),
    ),
}


def tables(notebook: Notebook) -> Iterator[str]:
    """The lines of the tables, all in seconds."""
    for slug, lines in LINES.items():
        published = published_ms(slug)
        yield ""
        yield f"{slug}, seconds"
        yield f"{'':{_LABEL_WIDTH}}" + "".join(f"{column:>{_WIDTH}}" for column in _COLUMNS)
        for line in lines:
            measured = [_cell(notebook, named(slug, way, line.part)) for way in _WAYS]
            page = f"{published[line.published] / 1e3:.1f}" if line.published else ""
            cells = [*measured, page, _floor(notebook, slug, line), f"≤ {line.target}" if line.target else ""]
            yield f"{line.label:{_LABEL_WIDTH}}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells)
    yield ""
    yield f"page: published by others for one {GPU}, warm, one sample; target: ours, on an {GPU}"
    yield "floor: the arithmetic over the rate of a large matrix product, measured in the same run"
    yield "*: extrapolated from parts of a render, see above"


def published_ms(slug: str) -> dict[str, float]:
    """The figures that a model's page publishes for the GPU, by their names in the catalogue."""
    model = yaml.safe_load((REPOSITORY / "config" / "models" / f"{slug}.yaml").read_text())
    (row,) = (
        row
        for version in model["versions"]
        for source in version["published_figures"]
        for row in source["rows"]
        if row["gpu_type"] == GPU
    )
    return {name: value for name, value in row.items() if name.endswith("_ms")}


def _cell(notebook: Notebook, name: str) -> str:
    figure = notebook.figures.get(name)
    return f"{figure.value:.2f}{'*' if figure.extrapolated else ''}" if figure else "-"


def _floor(notebook: Notebook, slug: str, line: Line) -> str:
    rate = notebook.figures.get(rate_of(FORMATS[slug]))
    return f"{line.petaflops * 1e3 / rate.value:.1f}" if rate and line.petaflops else ""
