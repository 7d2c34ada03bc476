"""The price book of `config/prices.yaml`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from services.billing_estimate.domain import Price
from services.chassis.strict_yaml import ConfigurationInvalid, StrictShape, read_document

Words = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class PriceShape(StrictShape):
    """A row."""

    gpu_type: Words
    region: Words
    cost_per_gpu_hour_usd: float = Field(gt=0, allow_inf_nan=False)


class PriceTableShape(StrictShape):
    """The rows of one source."""

    source: Words
    rows: list[PriceShape] = Field(min_length=1)


class PricesShape(StrictShape):
    """A whole file."""

    prices: list[PriceTableShape] = Field(min_length=1)


class YamlPriceBook:
    """The prices as they stood in a file when the service started."""

    def __init__(self, path: Path) -> None:
        """Read `path`. ConfigurationInvalid when it is wrong."""
        document = read_document(path, PricesShape)
        found: dict[tuple[str, str], Price] = {}
        faults: list[str] = []
        for table_index, table in enumerate(document.content.prices):
            for row_index, row in enumerate(table.rows):
                target = (row.gpu_type, row.region)
                if target in found:
                    location = ["prices", table_index, "rows", row_index]
                    faults.append(document.fault(location, f"{row.gpu_type} in {row.region} has a price already"))
                found[target] = Price(row.gpu_type, row.region, row.cost_per_gpu_hour_usd, table.source)
        if faults:
            raise ConfigurationInvalid(faults)
        self._prices = tuple(price for _, price in sorted(found.items()))

    def prices(self) -> tuple[Price, ...]:
        """One price a target, ordered by device and region."""
        return self._prices
