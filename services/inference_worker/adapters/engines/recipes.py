"""Weights that are made here instead of fetched: by which recipe, and on disk once, whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from models_demo import pipelines
from services.inference_worker.adapters.engines import demo_remarks
from services.inference_worker.adapters.engines.random_weights.skyreels import build_skyreels
from services.inference_worker.adapters.engines.random_weights.stable_video import build_stable_video
from services.inference_worker.adapters.engines.random_weights.wan import build_wan
from services.inference_worker.adapters.engines.remarking import Remarks
from services.inference_worker.domain.errors import WeightsUnavailable

_SEED = 1
"""Chosen among the first few by the look of the videos of random weights."""


@dataclass(frozen=True)
class Recipe:
    """How weights are made, for each pipeline that there are some for."""

    name: str
    version: int
    """Grows whenever the weights come out differently, so that old ones are not taken for new ones."""
    builders: Mapping[str, Callable[[torch.Generator], Any]]
    remarks: Mapping[str, Remarks] = field(default_factory=dict)
    """What these weights have to say of requests, for each pipeline that has something to say."""

    @property
    def identity(self) -> str:
        """What tells these weights from all others."""
        return f"{self.name} {self.version}"

    def folder(self, weights_dir: Path, slug: str, pipeline: str, on_build: Callable[[], None]) -> Path:
        """The folder of a model's weights; calls `on_build` when they have to be made first.

        They are made beside their place and renamed: neither a crash nor a second worker leaves or sees half of them.
        Raises WeightsUnavailable for a pipeline that has none.
        """
        build = self.builders.get(pipeline)
        if build is None:
            raise WeightsUnavailable(f"there are no {self.name} weights for a {pipeline}")
        shelf = weights_dir / f"{self.name}-{self.version}"
        place = shelf / slug
        if place.is_dir():
            return place
        on_build()
        shelf.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{slug}-", dir=shelf))
        try:
            # Some of the layers draw their first weights from the global generator.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(_SEED)
                build(torch.Generator().manual_seed(_SEED)).save_pretrained(draft, safe_serialization=True)
            _flush(draft)
            _publish(draft, place)
        except OSError as error:
            raise WeightsUnavailable(f"the {self.name} weights could not be written to FORGE_HOME") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return place


RANDOM = Recipe(
    "random",
    1,
    {
        "StableVideoDiffusionPipeline": build_stable_video,
        "SkyReelsV2DiffusionForcingPipeline": build_skyreels,
        "WanPipeline": build_wan,
    },
)
"""Narrow models with first weights: quick, for what does not depend on what videos show."""

DEMO = Recipe(
    "demo",
    6,
    {
        "StableVideoDiffusionPipeline": lambda _generator: pipelines.stable_video(),
        "SkyReelsV2DiffusionForcingPipeline": lambda _generator: pipelines.skyreels(),
        "WanPipeline": lambda _generator: pipelines.wan(),
    },
    {
        "SkyReelsV2DiffusionForcingPipeline": demo_remarks.on_prompt,
        "WanPipeline": demo_remarks.on_prompt,
    },
)
"""What a laptop renders with unless told otherwise: models of a small world, trained beforehand."""


def _publish(draft: Path, place: Path) -> None:
    try:
        draft.rename(place)
    except OSError:
        if not place.is_dir():  # if it is, another worker was faster, and its weights are the same
            raise


def _flush(folder: Path) -> None:
    """Have the files on the disk before their new name is."""
    for file in folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
