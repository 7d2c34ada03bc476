"""Putting on record what renders took, and answering what they cost."""

from collections.abc import Sequence

from services.billing_estimate.domain.calibration import Calibration, by_target, calibrate
from services.billing_estimate.domain.errors import RenderNotFound
from services.billing_estimate.domain.receipts import AttemptUse, Receipt, RenderUse
from services.billing_estimate.domain.usage import Usage, period_of
from services.billing_estimate.ports import Meters, PriceBook, ReceiptStore
from services.chassis.clock import Clock


class Receipts:
    """The receipts of renders, the use of accounts, and how good estimates were."""

    def __init__(self, *, store: ReceiptStore, price_book: PriceBook, meters: Meters, clock: Clock) -> None:
        self._store = store
        self._price_book = price_book
        self._meters = meters
        self._clock = clock

    async def record(self, render: RenderUse, attempts: Sequence[AttemptUse]) -> None:
        """Put on record how a render stands. Idempotent. Raises StoreUnavailable."""
        receipt = await self._store.record(render, attempts, self._price_book.prices())
        if receipt is not None and receipt.outcome is not None:
            self._meters.estimate_was_off(receipt.outcome, simulated=receipt.charges[0].simulated)
            await self.meter()

    async def receipt(self, account: str, render_id: str) -> Receipt:
        """What a render of the account took and cost. RenderNotFound, also before its first attempt has ended."""
        receipt = await self._store.receipt(account, render_id)
        if receipt is None or not (receipt.charges or receipt.render.is_final):
            raise RenderNotFound(render_id)
        return receipt

    async def usage(self, account: str, *, since: str, until: str, slug: str, api_key_id: str) -> Usage:
        """The use of an account by day, version and key. InvalidInput."""
        period = period_of(since, until, self._clock.now())
        return await self._store.usage(account, period, slug=slug or None, api_key_id=api_key_id or None)

    async def calibrations(self) -> tuple[Calibration, tuple[Calibration, ...]]:
        """How far estimates were off lately: over everything, and by version and target."""
        outcomes = await self._store.outcomes()
        return calibrate(outcomes), by_target(outcomes)

    async def meter(self) -> None:
        """Let those who watch know how far estimates are off now."""
        overall, each = await self.calibrations()
        for calibration in (overall, *each):
            self._meters.calibrated(calibration)
