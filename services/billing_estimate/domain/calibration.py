"""How far estimates were off."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from services.billing_estimate.domain.targets import Target

NEWEST_RENDERS = 100
"""So many renders are compared."""


@dataclass(frozen=True)
class Outcome:
    """A render that succeeded in one go, beside its estimate: device times in seconds, None for what was unknown."""

    slug: str
    version: str
    target: Target
    ended_at: datetime
    actual: float
    estimated: float
    estimated_p90: float | None = None

    @property
    def error(self) -> float:
        """How far the estimate was off: above 0 when it took longer."""
        return self.actual / self.estimated - 1.0


@dataclass(frozen=True)
class Calibration:
    """How far the estimates of some renders were off; without slug, version and target it is over all of them."""

    slug: str
    version: str
    target: Target | None
    sample_count: int
    median_absolute_error: float | None = None
    median_error: float | None = None
    share_within_p90: float | None = None


def calibrate(
    outcomes: Sequence[Outcome], slug: str = "", version: str = "", target: Target | None = None
) -> Calibration:
    """The calibration over the newest of these renders; without any, only a count."""
    newest = sorted(outcomes, key=lambda each: each.ended_at, reverse=True)[:NEWEST_RENDERS]
    if not newest:
        return Calibration(slug, version, target, 0)
    bounded = [each.actual <= each.estimated_p90 for each in newest if each.estimated_p90 is not None]
    return Calibration(
        slug=slug,
        version=version,
        target=target,
        sample_count=len(newest),
        median_absolute_error=median(abs(each.actual - each.estimated) / each.actual for each in newest),
        median_error=median(each.error for each in newest),
        share_within_p90=sum(bounded) / len(bounded) if bounded else None,
    )


def by_target(outcomes: Iterable[Outcome]) -> tuple[Calibration, ...]:
    """One calibration for each version and target, ordered by slug, version, device and region."""
    groups: dict[tuple[str, str, Target], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.slug, outcome.version, outcome.target), []).append(outcome)
    return tuple(calibrate(group, *key) for key, group in sorted(groups.items()))
