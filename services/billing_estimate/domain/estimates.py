"""What a request costs on each target, and which target is the right one."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from services.billing_estimate.domain.basis import CostBasis
from services.billing_estimate.domain.calibration import Calibration
from services.billing_estimate.domain.errors import NoEstimate
from services.billing_estimate.domain.forecast import Forecast, forecast
from services.billing_estimate.domain.prices import Price
from services.billing_estimate.domain.targets import Pin, Target
from services.chassis.known import refuse_unknown_target

SECONDS_PER_HOUR = 3600.0


class Prefer(StrEnum):
    """What there should be little of."""

    CHEAPEST = "cheapest"
    FASTEST = "fastest"


@dataclass(frozen=True)
class Wishes:
    """What a request asks of its target besides the pin. None is without a limit."""

    prefer: Prefer = Prefer.CHEAPEST
    max_cost_usd: float | None = None
    finish_within_seconds: float | None = None

    def with_deadline(self, deadline: datetime | None, now: datetime) -> "Wishes":
        """The same with a deadline as well: of two times the shorter counts."""
        if deadline is None:
            return self
        left = max(0.0, (deadline - now).total_seconds())
        within = left if self.finish_within_seconds is None else min(left, self.finish_within_seconds)
        return replace(self, finish_within_seconds=within)


@dataclass(frozen=True)
class TargetTimes:
    """What a request takes on one target."""

    target: Target
    forecast: Forecast
    simulated: bool
    offered: bool
    idle_tail_seconds: float
    calibration: Calibration | None = None


@dataclass(frozen=True)
class TargetEstimate:
    """What a request takes and costs on one target. `output_seconds` is None when nobody says how long the video is."""

    times: TargetTimes
    cost_per_gpu_hour_usd: float
    output_seconds: float | None
    keeps_time: bool = True
    keeps_cost: bool = True

    @property
    def target(self) -> Target:
        """Where."""
        return self.times.target

    @property
    def warm_request_cost_usd(self) -> float:
        """Cost of a request to a warm runtime."""
        return self._cost_usd(self.times.forecast.request_ms / 1000)

    @property
    def first_cold_request_cost_usd(self) -> float | None:
        """Cost of a request that starts the runtime first; None when nobody knows how long a start takes."""
        known = self.times.forecast
        return None if known.cold_start_ms is None else self._cost_usd((known.cold_start_ms + known.request_ms) / 1000)

    @property
    def idle_tail_cost_usd(self) -> float:
        """Cost of the time the runtime stays warm after the last request."""
        return self._cost_usd(self.times.idle_tail_seconds)

    @property
    def cost_per_output_second_usd(self) -> float | None:
        """Cost of a warm request for each second of its video."""
        return self.warm_request_cost_usd / self.output_seconds if self.output_seconds else None

    @property
    def keeps_limits(self) -> bool:
        """Whether the target is expected to keep what the request says of time and cost."""
        return self.keeps_time and self.keeps_cost

    def _cost_usd(self, seconds: float) -> float:
        return seconds / SECONDS_PER_HOUR * self.cost_per_gpu_hour_usd


@dataclass(frozen=True)
class TargetEstimates:
    """Every target with a time: with its price, the cheapest first, or without one."""

    priced: tuple[TargetEstimate, ...]
    unpriced: tuple[TargetTimes, ...]


@dataclass(frozen=True)
class RunEstimate:
    """The estimates of a selection, the cheapest per request first; there is at least one."""

    slug: str
    version: str
    pin: Pin
    targets: tuple[TargetEstimate, ...]
    selected: TargetEstimate
    explanation: str
    output_seconds: float | None
    warnings: tuple[str, ...] = ()

    @property
    def lowest_cost(self) -> TargetEstimate:
        """The cheapest per request. The price of an hour says nothing: a slow device takes more hours."""
        return self.targets[0]

    @property
    def fastest(self) -> TargetEstimate:
        """The shortest warm request; the cheaper one of two that are as fast."""
        return min(self.targets, key=lambda each: each.times.forecast.request_ms)


def estimate_targets(
    basis: CostBasis,
    prices: Collection[Price],
    idle_tail_seconds: float,
    calibrations: Mapping[Target, Calibration] | None = None,
) -> TargetEstimates:
    """Estimate an input on every target with a time."""
    by_target = {price.target: price for price in prices}
    priced: list[TargetEstimate] = []
    unpriced: list[TargetTimes] = []
    for history in basis.histories:
        known = forecast(basis, history)
        if known is None:
            continue
        times = TargetTimes(
            target=history.target,
            forecast=known,
            simulated=history.simulated,
            offered=history.offered,
            idle_tail_seconds=idle_tail_seconds,
            calibration=(calibrations or {}).get(history.target),
        )
        if price := by_target.get(history.target):
            priced.append(TargetEstimate(times, price.cost_per_gpu_hour_usd, basis.output_seconds))
        else:
            unpriced.append(times)
    return TargetEstimates(
        tuple(sorted(priced, key=lambda each: (each.warm_request_cost_usd, each.target))),
        tuple(sorted(unpriced, key=lambda each: each.target)),
    )


def select(
    basis: CostBasis,
    estimates: TargetEstimates,
    prices: Iterable[Price],
    pin: Pin,
    wishes: Wishes | None = None,
) -> RunEstimate:
    """The estimates the pin admits, and the right one of them. UnknownTarget, NoEstimate.

    Without wishes that is the cheapest per request. With them it is the one the scheduler would look for: one that this
    fleet offers, if there is any, within the cost and the time that the request says.
    """
    known = {(each.target.gpu_type, each.target.region) for each in (*basis.histories, *prices)}
    refuse_unknown_target(pin.gpu_type, pin.region, known)
    admitted = [each for each in estimates.priced if pin.admits(each.target)]
    if not admitted:
        raise NoEstimate(f"{pin} has no time of '{basis.slug}' {basis.version} that comes with a price")
    judged = tuple(_judged(each, wishes or Wishes()) for each in admitted)
    chosen, why = (judged[0], "") if wishes is None else _choose(judged, wishes)
    return RunEstimate(
        slug=basis.slug,
        version=basis.version,
        pin=pin,
        targets=judged,
        selected=chosen,
        explanation=why or _why_cheapest(chosen, judged),
        output_seconds=basis.output_seconds,
    )


def _judged(estimate: TargetEstimate, wishes: Wishes) -> TargetEstimate:
    within, at_most = wishes.finish_within_seconds, wishes.max_cost_usd
    return replace(
        estimate,
        keeps_time=within is None or estimate.times.forecast.seconds_with_a_start <= within,
        keeps_cost=at_most is None or estimate.warm_request_cost_usd <= at_most,
    )


def _choose(judged: Sequence[TargetEstimate], wishes: Wishes) -> tuple[TargetEstimate, str]:
    offered = [each for each in judged if each.times.offered]
    candidates = offered or list(judged)
    among = (
        f"of the {len(offered)} that this fleet offers" if offered else f"of {len(judged)}, none of them offered here"
    )
    affordable = [each for each in candidates if each.keeps_cost]
    too_dear = "" if affordable else f"; none is expected to cost at most ${wishes.max_cost_usd:g}"
    candidates = affordable or candidates
    if wishes.finish_within_seconds is None:
        best = _best(candidates, wishes.prefer)
        return best, f"{best.target} is the {wishes.prefer} {among}{too_dear}"
    limit = f"{wishes.finish_within_seconds:.0f} s, a start included"
    if in_time := [each for each in candidates if each.keeps_time]:
        best = _best(in_time, wishes.prefer)
        return best, f"{best.target} is the {wishes.prefer} expected to end within {limit}, {among}{too_dear}"
    best = min(candidates, key=lambda each: (each.times.forecast.seconds_with_a_start, each.target))
    return best, f"no target is expected to end within {limit}; {best.target} is the fastest {among}{too_dear}"


def _best(candidates: Iterable[TargetEstimate], prefer: Prefer) -> TargetEstimate:
    if prefer is Prefer.FASTEST:
        return min(
            candidates, key=lambda each: (each.times.forecast.request_ms, each.warm_request_cost_usd, each.target)
        )
    return min(candidates, key=lambda each: (each.warm_request_cost_usd, each.target))


def _why_cheapest(chosen: TargetEstimate, judged: Sequence[TargetEstimate]) -> str:
    nowhere = "" if chosen.times.offered else "; this fleet does not offer it"
    if len(judged) == 1:
        return f"{chosen.target} is the only target of the selection with a time and a price{nowhere}"
    return f"{chosen.target} is the cheapest per request of {len(judged)} targets{nowhere}"
