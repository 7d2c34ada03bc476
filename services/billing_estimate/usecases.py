"""What the service does: estimate a request, show the prices."""

from services.billing_estimate.domain import Pin, Price, RunEstimate, estimate_run
from services.billing_estimate.ports import ModelCatalog, PriceBook


class Estimator:
    """Says what a request would take and cost."""

    def __init__(self, catalog: ModelCatalog, price_book: PriceBook) -> None:
        self._catalog = catalog
        self._price_book = price_book

    async def estimate(self, slug: str, version: str, pin: Pin) -> RunEstimate:
        """The estimate of a version's example request, on each target the pin admits.

        MODEL_NOT_FOUND, VERSION_NOT_FOUND, UnknownTarget, NoEstimate, ServiceUnavailable.
        """
        known = await self._catalog.figures(slug, version)
        return estimate_run(known, self._price_book.prices(), pin)

    def prices(self) -> tuple[Price, ...]:
        """The price book, ordered by device and region."""
        return self._price_book.prices()
