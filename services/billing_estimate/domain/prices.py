"""What devices cost, and when."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from services.billing_estimate.domain.targets import Target

_ALWAYS = datetime.min.replace(tzinfo=UTC)
_FOR_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Price:
    """What one device costs for one hour, from `valid_from` until just before `valid_until`; None is without an end."""

    gpu_type: str
    region: str
    cost_per_gpu_hour_usd: float
    source: str
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    @property
    def target(self) -> Target:
        """What it is the price of."""
        return Target(self.gpu_type, self.region)

    @property
    def begins(self) -> datetime:
        """Its first moment, for comparing."""
        return self.valid_from or _ALWAYS

    @property
    def ends(self) -> datetime:
        """The moment it ceases to hold, for comparing."""
        return self.valid_until or _FOR_EVER

    def holds_at(self, moment: datetime) -> bool:
        """Whether it is the price at a moment."""
        return self.begins <= moment < self.ends

    def overlaps(self, other: "Price") -> bool:
        """Whether there is a moment at which its target would have both prices."""
        return self.target == other.target and self.begins < other.ends and other.begins < self.ends


def in_order(prices: Iterable[Price]) -> tuple[Price, ...]:
    """By device, region and when they begin to hold."""
    return tuple(sorted(prices, key=lambda price: (price.target, price.begins)))


def holding_at(prices: Iterable[Price], moment: datetime) -> tuple[Price, ...]:
    """The prices of a moment: at most one a target."""
    return tuple(price for price in prices if price.holds_at(moment))


def price_at(prices: Iterable[Price], target: Target, moment: datetime) -> Price | None:
    """What a target costs at a moment; None where nobody says."""
    return next((price for price in prices if price.target == target and price.holds_at(moment)), None)
