"""Models, versions, published figures and selections: the nouns and rules of the catalogue."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from services.chassis.errors import ForgeError, Kind, Violation

ROUTING_FIELDS = frozenset(
    {
        *("model", "model_version", "gpu_type", "region", "request_id", "on_out_of_memory"),
        *("priority", "prefer", "max_cost_usd", "deadline", "pause_after_step"),
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
        super().__init__(f"there is no model '{slug}'{_did_you_mean(slug, known)}", resource=("model", slug))


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


class UnknownTarget(ForgeError):
    """The device or the region of a pin is in no figure and not in the fleet. `metadata["known"]` lists what is."""

    kind = Kind.INVALID
    reason = "UNKNOWN_TARGET"

    def __init__(self, violations: Collection[Violation], known: Iterable[str]) -> None:
        listed = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        super().__init__(f"unknown target: {listed}", violations=tuple(violations), metadata={"known": ",".join(known)})


class TargetNotOffered(ForgeError):
    """The target is known, but the fleet has no slot of it. `metadata["offered"]` lists what it has."""

    kind = Kind.CONFLICT
    reason = "TARGET_NOT_OFFERED"

    def __init__(self, pin: "Pin", offered: Iterable[str]) -> None:
        names = tuple(offered)
        super().__init__(
            f"this fleet does not offer {pin}; it offers: {', '.join(names) or 'nothing'}",
            metadata={"offered": ",".join(names)},
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


@dataclass(frozen=True)
class InferenceRoute:
    """What a client writes to run a version."""

    path: str
    method: str
    model: str
    model_version: str
    async_path: str
    rpc: str


@dataclass(frozen=True)
class RouteTarget:
    """A target of the fleet, and what is free there now."""

    gpu_type: str
    region: str
    simulated: bool
    total_slots: int
    free_slots: int

    @property
    def name(self) -> str:
        """The target as metadata and messages write it."""
        return f"{self.gpu_type}@{self.region}"


@dataclass(frozen=True)
class Pin:
    """A selected device and region; None is any."""

    gpu_type: str | None
    region: str | None

    def __str__(self) -> str:
        return f"{self.gpu_type or 'any device'} in {self.region or 'any region'}"

    def admits(self, target: RouteTarget) -> bool:
        """Whether a request with this pin may go to `target`."""
        return self.gpu_type in (None, target.gpu_type) and self.region in (None, target.region)


@dataclass(frozen=True)
class InferenceRoutes:
    """How and where a selection runs."""

    slug: str
    model_version: str
    route: InferenceRoute
    pin: Pin
    targets: tuple[RouteTarget, ...]


def route_of(slug: str, version: str) -> InferenceRoute:
    """How to call a version."""
    return InferenceRoute(
        path=f"/v1/inference/{slug}",
        method="POST",
        model=slug,
        model_version=version,
        async_path="/v1/renders",
        rpc="forge.scheduler.v1.RenderService/Infer",
    )


def select_targets(
    pin: Pin, offered: Collection[RouteTarget], figures: Iterable[PublishedFigure]
) -> tuple[RouteTarget, ...]:
    """The offered targets a pin admits. UnknownTarget, TargetNotOffered."""
    published = {(figure.gpu_type, figure.region) for figure in figures}
    gpu_types = {gpu_type for gpu_type, _ in published} | {target.gpu_type for target in offered}
    regions = {region for _, region in published if region} | {target.region for target in offered}
    violations = [
        Violation(field, f"'{value}' is not known here{_did_you_mean(value, known)}; known: {', '.join(sorted(known))}")
        for field, value, known in (("gpu_type", pin.gpu_type, gpu_types), ("region", pin.region, regions))
        if value is not None and value not in known
    ]
    if violations:
        names = {f"{gpu_type}@{region}" for gpu_type, region in published if region}
        raise UnknownTarget(violations, sorted(names | {target.name for target in offered}))
    targets = tuple(target for target in offered if pin.admits(target))
    if not targets and pin != Pin(None, None):
        raise TargetNotOffered(pin, sorted(target.name for target in offered))
    return targets


def _did_you_mean(word: str, known: Collection[str]) -> str:
    by_fold = {name.casefold(): name for name in known}
    close = get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.6)
    return f" (did you mean '{by_fold[close[0]]}'?)" if close else ""
