"""The ledger, as the other services use it: adding to it, and what estimates rest on."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.catalog.domain import ModelNotFound, VersionNotFound
from services.catalog.domain.measurements import OUTCOMES, SOURCES, Measurement, Samples
from services.catalog.domain.targets import KnownTarget, known_targets
from services.catalog.domain.work import Amounts, Work, WorkPart, WorkUnknown, key_of
from services.catalog.ports import Entry, Fleet, Ledger
from services.catalog.usecases.catalog import Catalog
from services.catalog.usecases.performance import offers_of
from services.chassis.errors import InvalidInput, Violation

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class CostSample:
    """A measured run and its work."""

    run: Measurement
    run_ms: int
    amounts: Amounts


@dataclass(frozen=True)
class TargetHistory:
    """What was measured for one target, newest first."""

    target: KnownTarget
    samples: tuple[CostSample, ...]
    cold_starts_ms: tuple[int, ...]


@dataclass(frozen=True)
class CostBasis:
    """What an estimate of an input rests on."""

    slug: str
    model_version: str
    vram_floor_gib: float
    parts: tuple[WorkPart, ...]
    amounts: Amounts
    """Of the input."""
    targets: tuple[TargetHistory, ...]


class LedgerBook:
    """Adds to the ledger, and reads from it what other services reckon with."""

    def __init__(self, catalog: Catalog, fleet: Fleet, ledger: Ledger) -> None:
        self._catalog = catalog
        self._fleet = fleet
        self._ledger = ledger

    async def record(self, measurements: Sequence[Measurement]) -> None:
        """Keep measurements; those on record stay as they are. InvalidInput, and then none of them is kept.

        What was measured of a version that has left the catalogue is kept too: it may come back.
        """
        violations = [
            Violation(f"measurements[{index}].{field}", description)
            for index, measurement in enumerate(measurements)
            for field, description in _wrong_with(measurement)
        ]
        if violations:
            raise InvalidInput(violations)
        await self._ledger.add([Entry(each, self._work_key(each)) for each in measurements])

    async def cost_basis(self, slug: str, version: str, inputs: Mapping[str, Any] | None) -> CostBasis:
        """What an estimate of some inputs rests on; of the example for None.

        ModelNotFound, VersionNotFound; InvalidInput when the work of the inputs cannot be told.
        """
        found = self._catalog.model(slug).find_version(version)
        try:
            amounts = found.work.of(found.work.example if inputs is None else inputs)
        except WorkUnknown as error:
            raise InvalidInput([Violation("input", f"its work cannot be told: an expression {error}")]) from error
        offers, samples = await asyncio.gather(offers_of(self._fleet), self._ledger.samples(slug, found.version))
        by_spot = {each.spot: each for each in samples}
        return CostBasis(
            slug,
            found.version,
            vram_floor_gib=found.vram_floor_gib,
            parts=found.work.parts,
            amounts=amounts,
            targets=tuple(
                _history(target, by_spot.get(target.spot), found.work)
                for target in known_targets(offers or (), by_spot, found.published_figures)
            ),
        )

    def _work_key(self, measurement: Measurement) -> str:
        try:
            version = self._catalog.model(measurement.slug).find_version(measurement.model_version)
        except (ModelNotFound, VersionNotFound):
            return key_of(measurement.shape)
        return version.work.key_of(measurement.shape)


def _history(target: KnownTarget, samples: Samples | None, work: Work) -> TargetHistory:
    if samples is None:
        return TargetHistory(target, (), ())
    known = (_sample(run, work) for run in samples.runs)
    return TargetHistory(target, tuple(sample for sample in known if sample is not None), samples.cold_starts_ms)


def _sample(run: Measurement, work: Work) -> CostSample | None:
    """A run and its work as it is reckoned now; None for one of inputs that the version no longer has work for."""
    if run.run_ms is None:
        return None
    try:
        return CostSample(run, run.run_ms, work.of(run.shape))
    except WorkUnknown:
        return None


def _wrong_with(measurement: Measurement) -> list[tuple[str, str]]:
    """Fields that a measurement cannot be kept with, and what they must be."""
    wrong = [
        (field, "must be set")
        for field in ("id", "slug", "model_version", "gpu_type", "region")
        if not getattr(measurement, field)
    ]
    if measurement.measured_at <= _EPOCH:
        wrong.append(("measured_at", "must be set"))
    if measurement.outcome not in OUTCOMES:
        wrong.append(("outcome", f"must be one of {', '.join(OUTCOMES)}"))
    if measurement.source not in SOURCES:
        wrong.append(("source", f"must be one of {', '.join(SOURCES)}"))
    return wrong
