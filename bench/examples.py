"""The example requests of the catalogue, as the scheduler would hand them to a worker."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from services.chassis.config import REPOSITORY
from services.inference_worker.domain.version import Version
from services.inference_worker.ports import Moment

ROUTING = {"model", "model_version", "gpu_type", "region"}


@dataclass(frozen=True)
class Example:
    """A version of a model, and its example with every default filled in."""

    version: Version
    inputs: Mapping[str, Any]
    defaults: Mapping[str, Any]
    """What the version takes for inputs that are left out."""


def examples(*slugs: str) -> Iterator[Example]:
    """The examples of these models, or of all."""
    for file in sorted((REPOSITORY / "config" / "models").glob("*.yaml")):
        model = yaml.safe_load(file.read_text())
        for stated in model["versions"]:
            if not slugs or model["slug"] in slugs:
                version = Version(
                    slug=model["slug"],
                    model_version=stated["version"],
                    pipeline=stated["pipeline"],
                    weights_repository=stated["weights_repository"],
                    weights_revision=stated["weights_revision"],
                    weights_dtype=stated["weights_dtype"],
                )
                defaults = defaults_of(stated["input_schema"])
                given = {name: value for name, value in stated["example"].items() if name not in ROUTING}
                yield Example(version, {**defaults, **given}, defaults)


def defaults_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults that a schema of inputs states."""
    return {name: field["default"] for name, field in schema["properties"].items() if "default" in field}


@dataclass
class Audience:
    """A listener that never stops an engine; keeps the frames."""

    on_moment: Callable[[Moment], None] = lambda _moment: None
    frames: list[Any] = field(default_factory=list)

    def report(self, moment: Moment) -> None:
        """A moment of the render."""
        self.on_moment(moment)

    def show(self, frames: Any) -> None:
        """Finished frames."""
        self.frames.append(frames)

    def check(self) -> None:
        """Go on."""
