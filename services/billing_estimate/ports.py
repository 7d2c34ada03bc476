"""What estimates need from outside."""

from typing import Protocol

from services.billing_estimate.domain import Price, VersionFigures


class PriceBook(Protocol):
    """What devices cost."""

    def prices(self) -> tuple[Price, ...]:
        """One price a target, ordered by device and region."""
        ...


class ModelCatalog(Protocol):
    """What is known about versions."""

    async def figures(self, slug: str, version: str) -> VersionFigures:
        """Figures of a version; the default one for "".

        The catalogue's MODEL_NOT_FOUND and VERSION_NOT_FOUND; ServiceUnavailable when it does not answer.
        """
        ...
