"""Prices, figures and what a request costs: the nouns and rules of estimates."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from services.chassis.errors import ForgeError, Kind, Violation

MS_PER_HOUR = 3_600_000


class UnknownTarget(ForgeError):
    """The device or the region of a pin has neither a price nor a figure. `metadata["known"]` lists what has."""

    kind = Kind.INVALID
    reason = "UNKNOWN_TARGET"

    def __init__(self, violations: Collection[Violation], known: Iterable[str]) -> None:
        listed = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        super().__init__(f"unknown target: {listed}", violations=tuple(violations), metadata={"known": ",".join(known)})


class NoEstimate(ForgeError):
    """Nothing can be estimated for the selection: no target of it has both a figure and a price."""

    kind = Kind.NOT_FOUND
    reason = "NO_ESTIMATE"


@dataclass(frozen=True)
class Price:
    """What one device costs for one hour."""

    gpu_type: str
    region: str
    cost_per_gpu_hour_usd: float
    source: str


@dataclass(frozen=True)
class Figure:
    """What a request took on a target. `region` is None where the source gives none."""

    gpu_type: str
    region: str | None
    request_ms: int | None
    cold_start_ms: int | None
    sample_count: int | None


@dataclass(frozen=True)
class VersionFigures:
    """What is known about the speed of a version."""

    slug: str
    version: str
    figures: tuple[Figure, ...]
    output_seconds: float | None
    """Length of the video the figures' request makes; None when its example does not say."""


@dataclass(frozen=True)
class Pin:
    """A selected device and region; None is any."""

    gpu_type: str | None
    region: str | None

    def __str__(self) -> str:
        return f"{self.gpu_type or 'any device'} in {self.region or 'any region'}"

    def admits(self, gpu_type: str, region: str) -> bool:
        """Whether a request with this pin may go to the target."""
        return self.gpu_type in (None, gpu_type) and self.region in (None, region)


@dataclass(frozen=True)
class TargetEstimate:
    """What a request takes and costs on one target."""

    gpu_type: str
    region: str
    request_ms: int
    cold_start_ms: int | None
    cost_per_gpu_hour_usd: float
    output_seconds: float
    sample_count: int | None
    basis: str = "published"

    @property
    def warm_request_cost_usd(self) -> float:
        """Cost of a request to a warm runtime."""
        return self.request_ms / MS_PER_HOUR * self.cost_per_gpu_hour_usd

    @property
    def first_cold_request_cost_usd(self) -> float | None:
        """Cost of a request that starts the runtime first; None when nobody knows how long a start takes."""
        if self.cold_start_ms is None:
            return None
        return (self.cold_start_ms + self.request_ms) / MS_PER_HOUR * self.cost_per_gpu_hour_usd

    @property
    def cost_per_output_second_usd(self) -> float:
        """Cost of a warm request for each second of its video."""
        return self.warm_request_cost_usd / self.output_seconds


@dataclass(frozen=True)
class RunEstimate:
    """The estimates of a selection, the cheapest per request first; there is at least one."""

    slug: str
    version: str
    pin: Pin
    targets: tuple[TargetEstimate, ...]

    @property
    def selected(self) -> TargetEstimate:
        """The pinned target, otherwise the cheapest per request of those the pin admits."""
        return self.targets[0]

    @property
    def lowest_cost(self) -> TargetEstimate:
        """The cheapest per request. The price of an hour says nothing: a slow device takes more hours."""
        return self.targets[0]

    @property
    def fastest(self) -> TargetEstimate:
        """The shortest warm request; the cheaper one of two that are as fast."""
        return min(self.targets, key=lambda target: target.request_ms)


def estimate_run(known: VersionFigures, prices: Collection[Price], pin: Pin) -> RunEstimate:
    """Estimate a request of a version on every target the pin admits. UnknownTarget, NoEstimate."""
    _check_pin(pin, known.figures, prices)
    if not known.output_seconds:
        raise NoEstimate(f"the example of '{known.slug}' {known.version} does not say how long its video is")
    by_target = {(price.gpu_type, price.region): price for price in prices}
    estimates: dict[tuple[str, str], TargetEstimate] = {}
    for figure in known.figures:
        price = by_target.get((figure.gpu_type, figure.region or ""))
        if price is None or figure.request_ms is None or not pin.admits(price.gpu_type, price.region):
            continue
        estimates.setdefault(  # of several figures the first one listed counts
            (price.gpu_type, price.region),
            TargetEstimate(
                gpu_type=price.gpu_type,
                region=price.region,
                request_ms=figure.request_ms,
                cold_start_ms=figure.cold_start_ms,
                cost_per_gpu_hour_usd=price.cost_per_gpu_hour_usd,
                output_seconds=known.output_seconds,
                sample_count=figure.sample_count,
            ),
        )
    if not estimates:
        raise NoEstimate(f"{pin} has no figure of '{known.slug}' {known.version} that comes with a price")
    ranked = sorted(estimates.values(), key=lambda each: (each.warm_request_cost_usd, each.gpu_type, each.region))
    return RunEstimate(known.slug, known.version, pin, tuple(ranked))


def _check_pin(pin: Pin, figures: Collection[Figure], prices: Collection[Price]) -> None:
    targets = {(figure.gpu_type, figure.region) for figure in figures} | {(p.gpu_type, p.region) for p in prices}
    gpu_types = {gpu_type for gpu_type, _ in targets}
    regions = {region for _, region in targets if region}
    violations = [
        Violation(field, f"'{value}' is not known here{_did_you_mean(value, known)}; known: {', '.join(sorted(known))}")
        for field, value, known in (("gpu_type", pin.gpu_type, gpu_types), ("region", pin.region, regions))
        if value is not None and value not in known
    ]
    if violations:
        raise UnknownTarget(violations, sorted(f"{gpu_type}@{region}" for gpu_type, region in targets if region))


def _did_you_mean(word: str, known: Collection[str]) -> str:
    by_fold = {name.casefold(): name for name in known}
    close = get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.6)
    return f" (did you mean '{by_fold[close[0]]}'?)" if close else ""
