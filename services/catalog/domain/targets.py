"""Which targets a version is known on: those the fleet offers, those that were measured, and those others published."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from services.catalog.domain.measurements import Spot
from services.catalog.domain.models import PublishedFigure
from services.catalog.domain.routes import RouteTarget


@dataclass(frozen=True)
class KnownTarget:
    """A target, and why it is known. `region` is "" for a device that was published without one."""

    spot: Spot
    offer: RouteTarget | None
    """As the fleet has it; None when it does not, or cannot be asked."""
    published: tuple[PublishedFigure, ...]

    @property
    def name(self) -> str:
        """As requests and messages write it."""
        return f"{self.spot.gpu_type}@{self.spot.region}"


def known_targets(
    offers: Iterable[RouteTarget], measured: Collection[Spot], figures: Sequence[PublishedFigure]
) -> tuple[KnownTarget, ...]:
    """Every target that is offered, measured or published, ordered by device and region.

    A target that is offered is real or an imitation as the fleet says; one that is not counts as real when anything
    real was measured there, or nothing at all.
    """
    by_place = {
        (offer.gpu_type, offer.region): offer for offer in sorted(offers, key=lambda offer: not offer.simulated)
    }
    places = {*by_place, *((spot.gpu_type, spot.region) for spot in measured)}
    places |= {(figure.gpu_type, figure.region) for figure in figures if figure.region}
    devices = {gpu_type for gpu_type, _ in places}
    places |= {(figure.gpu_type, "") for figure in figures if figure.gpu_type not in devices}
    return tuple(
        KnownTarget(
            Spot(gpu_type, region, _is_simulated(gpu_type, region, by_place.get((gpu_type, region)), measured)),
            by_place.get((gpu_type, region)),
            _published_for(gpu_type, region, figures),
        )
        for gpu_type, region in sorted(places)
    )


def _is_simulated(gpu_type: str, region: str, offer: RouteTarget | None, measured: Collection[Spot]) -> bool:
    if offer is not None:
        return offer.simulated
    return Spot(gpu_type, region, True) in measured and Spot(gpu_type, region, False) not in measured


def _published_for(gpu_type: str, region: str, figures: Sequence[PublishedFigure]) -> tuple[PublishedFigure, ...]:
    """Figures for the target, or else those that name its device and no region."""
    of_device = [figure for figure in figures if figure.gpu_type == gpu_type]
    here = tuple(figure for figure in of_device if figure.region == region)
    return here or tuple(figure for figure in of_device if figure.region is None)
