"""Where a version's weights come from: made here, a directory, or the Hugging Face hub."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.inference_worker.adapters.engines.recipes import DEMO, RANDOM, Recipe
from services.inference_worker.adapters.engines.remarking import Remarks
from services.inference_worker.domain.errors import WeightsUnavailable
from services.inference_worker.domain.version import StartMoment, StartPhase, Version

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_COMMIT = re.compile(r"[0-9a-f]{40}")

# All that a pipeline needs and nothing that can run: no pickles, no Python.
_HUB_FILES = ["model_index.json", "*/*.json", "*/*.safetensors", "*/*.txt", "*/*.model"]

ReportStart = Callable[[StartMoment], None]


@dataclass(frozen=True)
class FoundWeights:
    """Where a version's weights are."""

    folder: Path
    identity: str | None
    """What tells their content for ever; None where only the content itself does."""
    remarks: Remarks | None = None
    """What they have to say of requests."""


class WeightsSource(Protocol):
    """Finds weights."""

    def locate(self, version: Version, report: ReportStart) -> FoundWeights:
        """The folder that holds the version's weights. Raises WeightsUnavailable."""
        ...


def source_for(setting: str, weights_dir: Path) -> WeightsSource:
    """What the setting FORGE_WEIGHTS means."""
    match setting:
        case "demo":
            return RecipeSource(DEMO, weights_dir)
        case "random":
            return RecipeSource(RANDOM, weights_dir)
        case "hub":
            return HubSource()
        case _:
            return DirectorySource(Path(setting))


class RecipeSource:
    """Small weights, made at first use and kept."""

    def __init__(self, recipe: Recipe, weights_dir: Path) -> None:
        self._recipe = recipe
        self._weights_dir = weights_dir

    def locate(self, version: Version, report: ReportStart) -> FoundWeights:
        """Make the weights unless they are there."""
        slug = _plain(version.slug)
        recipe = self._recipe
        folder = recipe.folder(
            self._weights_dir,
            slug,
            version.pipeline,
            lambda: report(StartMoment(StartPhase.BUILDING_WEIGHTS, f"making the {recipe.name} weights, this once")),
        )
        return FoundWeights(folder, recipe.identity, recipe.remarks.get(version.pipeline))


class DirectorySource:
    """A directory of weights: DIR/<slug>/<model_version>, else DIR/<name of the repository>."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def locate(self, version: Version, report: ReportStart) -> FoundWeights:
        """The first of the two that is there."""
        by_slug = Path(_plain(version.slug)) / _plain(version.model_version)
        by_repository = Path(_plain(version.weights_repository.rpartition("/")[2]))
        for place in (by_slug, by_repository):
            if (self._directory / place).is_dir():
                return FoundWeights(self._directory / place, identity=None)
        raise WeightsUnavailable(
            f"the directory of FORGE_WEIGHTS has neither '{by_slug.as_posix()}' nor '{by_repository.as_posix()}'"
        )


class HubSource:
    """The Hugging Face hub, at a pinned commit, through its own cache."""

    def locate(self, version: Version, report: ReportStart) -> FoundWeights:
        """Download what is not in the cache."""
        if not _COMMIT.fullmatch(version.weights_revision):
            raise WeightsUnavailable(
                "weights are taken from the hub only at a pinned revision: a commit of 40 hex digits"
            )
        from huggingface_hub import snapshot_download

        report(StartMoment(StartPhase.WEIGHTS, f"downloading what is not here yet of {version.weights_repository}"))
        try:
            folder = snapshot_download(
                version.weights_repository, revision=version.weights_revision, allow_patterns=_HUB_FILES
            )
        except Exception as error:
            raise WeightsUnavailable(f"{version.weights_repository} could not be fetched from the hub") from error
        return FoundWeights(Path(folder), f"{version.weights_repository} {version.weights_revision}")


def _plain(name: str) -> str:
    """A name that stays inside its folder."""
    if not _PLAIN_NAME.fullmatch(name):
        raise WeightsUnavailable("the version's slug, name or repository is no plain name")
    return name
