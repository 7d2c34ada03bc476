"""Saying what a request would take and cost."""

from dataclasses import dataclass, replace

from services.billing_estimate.domain.basis import CostBasis
from services.billing_estimate.domain.calibration import by_target
from services.billing_estimate.domain.estimates import RunEstimate, TargetEstimates, estimate_targets, select
from services.billing_estimate.domain.prices import Price, holding_at
from services.billing_estimate.domain.targets import Pin
from services.billing_estimate.ports import CostBases, InputChecks, Inputs, PriceBook, ReceiptStore
from services.chassis.clock import Clock


@dataclass(frozen=True)
class PricedTargets:
    """What inputs take and cost everywhere, beside the prices that hold."""

    estimates: TargetEstimates
    prices: tuple[Price, ...]


class Estimator:
    """Says what a request would take and cost."""

    def __init__(
        self,
        *,
        bases: CostBases,
        checks: InputChecks,
        price_book: PriceBook,
        store: ReceiptStore,
        clock: Clock,
        idle_release_seconds: float,
    ) -> None:
        self._bases = bases
        self._checks = checks
        self._price_book = price_book
        self._store = store
        self._clock = clock
        self._idle_release_seconds = idle_release_seconds

    async def example(self, slug: str, version: str, pin: Pin) -> RunEstimate:
        """The estimate of a version's example request, on each target the pin admits.

        MODEL_NOT_FOUND, VERSION_NOT_FOUND, UnknownTarget, NoEstimate, ServiceUnavailable.
        """
        basis = await self._bases.of(slug, version, None)
        prices = self._prices_now()
        return select(basis, await self._estimates(basis, prices), prices, pin)

    async def input(self, slug: str, body: Inputs) -> RunEstimate:
        """The estimate of an inference body, on each target it may go to. The errors of `example` and of a render."""
        checked = await self._checks.check(slug, body)
        basis = await self._bases.of(checked.slug, checked.version, checked.inputs)
        prices = self._prices_now()
        wishes = checked.wishes.with_deadline(checked.deadline, self._clock.now())
        estimate = select(basis, await self._estimates(basis, prices), prices, checked.pin, wishes)
        return replace(estimate, warnings=checked.warnings)

    async def everywhere(self, slug: str, version: str, inputs: Inputs | None) -> PricedTargets:
        """What checked inputs take and cost on every target. MODEL_NOT_FOUND, VERSION_NOT_FOUND, ServiceUnavailable."""
        basis = await self._bases.of(slug, version, inputs)
        prices = self._prices_now()
        return PricedTargets(await self._estimates(basis, prices), prices)

    def prices(self, *, all_times: bool) -> tuple[Price, ...]:
        """The price book, ordered by device, region and time: what holds now, or everything."""
        return self._price_book.prices() if all_times else self._prices_now()

    def _prices_now(self) -> tuple[Price, ...]:
        return holding_at(self._price_book.prices(), self._clock.now())

    async def _estimates(self, basis: CostBasis, prices: tuple[Price, ...]) -> TargetEstimates:
        calibrations = by_target(await self._store.outcomes(basis.slug, basis.version))
        known = {each.target: each for each in calibrations if each.target is not None}
        return estimate_targets(basis, prices, self._idle_release_seconds, known)
