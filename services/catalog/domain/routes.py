"""Selections: which targets a request may go to, and how to call a version there."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from services.catalog.domain.models import PublishedFigure
from services.chassis.errors import ForgeError, Kind
from services.chassis.known import refuse_unknown_target


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
        return self.admits_place(target.gpu_type, target.region)

    def admits_place(self, gpu_type: str, region: str) -> bool:
        """As `admits`, of a target by its device and region."""
        return self.gpu_type in (None, gpu_type) and self.region in (None, region)


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
    known = published | {(target.gpu_type, target.region) for target in offered}
    refuse_unknown_target(pin.gpu_type, pin.region, known)
    targets = tuple(target for target in offered if pin.admits(target))
    if not targets and pin != Pin(None, None):
        raise TargetNotOffered(pin, sorted(target.name for target in offered))
    return targets
