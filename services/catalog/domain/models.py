"""Models, their versions and what others published of them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any

from services.catalog.domain.work import Work
from services.chassis.errors import ForgeError, Kind
from services.chassis.known import did_you_mean

ROUTING_FIELDS = frozenset(
    {
        *("model", "model_version", "gpu_type", "region", "request_id", "on_out_of_memory"),
        *("priority", "prefer", "max_cost_usd", "deadline", "finish_within_seconds", "pause_after_step"),
    }
)
"""Fields that travel beside the inputs in a request body; no input has these names."""

RULE_ARITIES: Mapping[str, int] = MappingProxyType(
    {
        "four_k_plus_one": 1,
        "fills_blocks": 2,
        "windows_fill_blocks": 4,
        "at_most_field": 2,
        "less_than_field": 2,
        "required_when_greater": 3,
        "required_with": 2,
        "mode_fits": 3,
    }
)
"""Kinds of rules over several inputs, and how many fields each names. `config/models/README.md` defines them."""

EFFECT_ARITIES: Mapping[str, int] = MappingProxyType({"when_greater": 3, "when_guided": 2})
"""Kinds of conditions on which an input has an effect, and how many fields each names; defined at the same place."""


class ModelNotFound(ForgeError):
    """No model has this slug."""

    kind = Kind.NOT_FOUND
    reason = "MODEL_NOT_FOUND"

    def __init__(self, slug: str, known: Collection[str]) -> None:
        super().__init__(f"there is no model '{slug}'{did_you_mean(slug, known)}", resource=("model", slug))


class VersionNotFound(ForgeError):
    """The model has no such version."""

    kind = Kind.NOT_FOUND
    reason = "VERSION_NOT_FOUND"

    def __init__(self, slug: str, version: str, known: Iterable[str]) -> None:
        names = tuple(known)
        super().__init__(
            f"model '{slug}' has no version '{version}'; it has: {', '.join(names)}",
            metadata={"known": ",".join(names)},
            resource=("model version", f"{slug}/{version}"),
        )


@dataclass(frozen=True)
class License:
    """The licence weights come under."""

    id: str
    url: str


@dataclass(frozen=True)
class Link:
    """A page worth following."""

    kind: str
    title: str
    url: str


@dataclass(frozen=True)
class PublishedFigure:
    """One row of somebody else's table. What the source does not give is None."""

    gpu_type: str
    region: str | None
    status: str
    model_ms: int | None
    cold_start_ms: int | None
    vram_gb: float | None
    sample_count: int | None
    source: str


@dataclass(frozen=True)
class InputSchema:
    """JSON Schema of a version's inputs, and a request body that runs as it stands."""

    schema: Mapping[str, Any]
    example: Mapping[str, Any]


@dataclass(frozen=True)
class ModelVersion:
    """One runnable form of a model."""

    version: str
    title: str
    pipeline: str
    weights_repository: str
    weights_revision: str
    weights_dtype: str
    parameters_billions: float | None
    context_window_tokens: int | None
    vram_floor_gib: float
    vram_floor_source: str
    max_run_seconds: int
    published_figures: tuple[PublishedFigure, ...]
    inputs: InputSchema
    work: Work
    probe_inputs: tuple[Mapping[str, Any], ...]
    """Inputs in place of the example's. The first ones ask for the least work."""


@dataclass(frozen=True)
class Model:
    """A catalogued model. It has at least one version; the first is the default."""

    slug: str
    title: str
    description: str
    license: License
    category: str
    runtime_kind: str
    input_modalities: tuple[str, ...]
    output_modalities: tuple[str, ...]
    tags: tuple[str, ...]
    date_added: date
    links: tuple[Link, ...]
    versions: tuple[ModelVersion, ...]

    @property
    def default_version(self) -> str:
        """The version used when a request names none."""
        return self.versions[0].version

    def find_version(self, name: str) -> ModelVersion:
        """The version of this name, the default one for "", or VersionNotFound."""
        wanted = name or self.default_version
        for version in self.versions:
            if version.version == wanted:
                return version
        raise VersionNotFound(self.slug, name, [version.version for version in self.versions])

    def matches(self, search: "Search") -> bool:
        """Whether the model belongs into the results of a search."""
        text = " ".join((self.slug, self.title, self.description, *self.tags)).casefold()
        return (
            all(word in text for word in search.query.casefold().split())
            and (not search.modality or search.modality in (*self.input_modalities, *self.output_modalities))
            and (not search.tag or search.tag in self.tags)
        )


@dataclass(frozen=True)
class Search:
    """What to look for; an empty field does not narrow."""

    query: str = ""
    modality: str = ""
    tag: str = ""
