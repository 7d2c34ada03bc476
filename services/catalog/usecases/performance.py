"""How versions perform: the table of their targets, how far these are verified, and what was measured."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from services.catalog.domain import ModelVersion, Pin, RouteTarget
from services.catalog.domain.measurements import Measurement, Place
from services.catalog.domain.reliability import Demands
from services.catalog.domain.rows import TargetRow, row_of
from services.catalog.domain.table import Table
from services.catalog.domain.targets import known_targets
from services.catalog.ports import Fleet, Ledger, Prices
from services.catalog.usecases import pages
from services.catalog.usecases.catalog import Catalog
from services.chassis.clock import Clock
from services.chassis.errors import InvalidInput, ServiceUnavailable
from services.chassis.known import refuse_unknown_target


@dataclass(frozen=True)
class Reliability:
    """How far a selection is verified."""

    table: Table
    """Its rows."""
    baseline: TargetRow | None
    """The row that all of the version's are compared with."""
    filters: Mapping[str, str]
    """What the selection was narrowed by."""


@dataclass(frozen=True)
class Comparison:
    """The whole table of a version, compared with one of its rows."""

    table: Table
    baseline: TargetRow | None


@dataclass(frozen=True)
class MeasurementPage:
    """Some of the measurements of a version, newest first."""

    measurements: tuple[Measurement, ...]
    next_page_token: str
    """Finds the next page; "" on the last one."""


class Performance:
    """What the ledger says of the catalogue's models."""

    def __init__(
        self,
        catalog: Catalog,
        fleet: Fleet,
        ledger: Ledger,
        prices: Prices,
        clock: Clock,
        demands: Demands,
    ) -> None:
        self._catalog = catalog
        self._fleet = fleet
        self._ledger = ledger
        self._prices = prices
        self._clock = clock
        self._demands = demands

    async def reliability(self, slug: str, version: str, pin: Pin) -> Reliability:
        """How far a selection is verified. ModelNotFound, VersionNotFound, UnknownTarget.

        While the fleet cannot be asked, no target is unknown: it might be offered.
        """
        found = self._catalog.model(slug).find_version(version)
        offers, table = await self._table(slug, found)
        if offers is not None:
            known = {(figure.gpu_type, figure.region) for figure in self._catalog.published_figures}
            known |= {(row.target.spot.gpu_type, row.target.spot.region) for row in table.rows}
            refuse_unknown_target(pin.gpu_type, pin.region, known)
        given = {"model_version": version, "gpu_type": pin.gpu_type, "region": pin.region}
        filters = {name: value for name, value in given.items() if value}
        return Reliability(table.narrowed_to(pin), table.baseline(""), filters)

    async def compare(self, slug: str, version: str, baseline: str) -> Comparison:
        """All rows of a version, compared with the one named; the fastest for "".

        ModelNotFound, VersionNotFound; UnknownTarget when no row has this name.
        """
        _, table = await self._table(slug, self._catalog.model(slug).find_version(version))
        return Comparison(table, table.baseline(baseline))

    async def measurements(
        self, slug: str, version: str, pin: Pin, *, page_size: int = 0, page_token: str = ""
    ) -> MeasurementPage:
        """What was measured of a version, newest first. ModelNotFound, VersionNotFound.

        `page_size` 0 means 50. InvalidInput when it is outside 0 to 100, or the token was not made here.
        """
        found = self._catalog.model(slug).find_version(version)
        violations = pages.size_violations(page_size)
        place = pages.place(page_token)
        after = None if place is None else _place_of(place)
        if place is None or (place and after is None):
            violations.append(pages.token_violation())
        if violations:
            raise InvalidInput(violations)
        size = page_size or pages.DEFAULT_PAGE_SIZE
        measurements = await self._ledger.page(slug, found.version, pin, after=after, size=size + 1)
        is_last = len(measurements) <= size
        shown = measurements[:size]
        return MeasurementPage(shown, "" if is_last else pages.token(_text_of(shown[-1])))

    async def _table(self, slug: str, version: ModelVersion) -> tuple[tuple[RouteTarget, ...] | None, Table]:
        """What the fleet offers, None when it cannot be asked, and the whole table of a version."""
        now = self._clock.now()
        offers, prices, histories = await asyncio.gather(
            offers_of(self._fleet),
            self._prices.per_hour(),
            self._ledger.histories(
                slug, version.version, example_key=version.work.example_key, since=now - self._demands.fresh
            ),
        )
        by_spot = {history.spot: history for history in histories}
        rows = tuple(
            row_of(
                target,
                by_spot.get(target.spot),
                is_fleet_known=offers is not None,
                prices=prices,
                output_seconds=version.work.example_output_seconds,
                now=now,
                demands=self._demands,
            )
            for target in known_targets(offers or (), by_spot, version.published_figures)
        )
        return offers, Table(slug, version.version, rows)


async def offers_of(fleet: Fleet) -> tuple[RouteTarget, ...] | None:
    """What the fleet offers; None when it cannot be asked."""
    try:
        return await fleet.targets()
    except ServiceUnavailable:
        return None


def _text_of(measurement: Measurement) -> str:
    """The place of a measurement, as a token holds it."""
    return f"{measurement.measured_at.astimezone(UTC).isoformat()} {measurement.id}"


def _place_of(text: str) -> Place | None:
    """The place that a text means; None when it means none."""
    at, _, name = text.partition(" ")
    try:
        measured_at = datetime.fromisoformat(at)
    except ValueError:
        return None
    return Place(measured_at, name) if name and measured_at.tzinfo else None
