"""The price book of `config/prices.yaml`."""

from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from services.billing_estimate.domain.prices import Price, in_order
from services.chassis.strict_yaml import ConfigurationInvalid, Document, Location, StrictShape, read_document

Words = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


def _moment(value: Any) -> datetime:
    """A date is the midnight it begins with, in UTC."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time must name its zone, as in 2026-11-20T15:04:05Z")
        return value.astimezone(UTC)
    if isinstance(value, date):
        return datetime.combine(value, time.min, UTC)
    raise ValueError("must be a date as in 2026-11-20, or a time as in 2026-11-20T15:04:05Z")


Moment = Annotated[datetime, BeforeValidator(_moment)]


class PriceShape(StrictShape):
    """A row."""

    gpu_type: Words
    region: Words
    cost_per_gpu_hour_usd: float = Field(gt=0, allow_inf_nan=False)
    valid_from: Moment | None = None
    valid_until: Moment | None = None


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
        found: list[Price] = []
        faults: list[str] = []
        for table_index, table in enumerate(document.content.prices):
            for row_index, row in enumerate(table.rows):
                price = Price(
                    gpu_type=row.gpu_type,
                    region=row.region,
                    cost_per_gpu_hour_usd=row.cost_per_gpu_hour_usd,
                    source=table.source,
                    valid_from=row.valid_from,
                    valid_until=row.valid_until,
                )
                faults += _faults(document, ["prices", table_index, "rows", row_index], price, found)
                found.append(price)
        if faults:
            raise ConfigurationInvalid(faults)
        self._prices = in_order(found)

    def prices(self) -> tuple[Price, ...]:
        """All prices, ordered by device, region and when they begin to hold."""
        return self._prices


def _faults(document: Document[PricesShape], row: Location, price: Price, earlier: list[Price]) -> list[str]:
    if price.begins >= price.ends:
        return [document.fault([*row, "valid_until"], "must be later than valid_from")]
    if not any(price.overlaps(other) for other in earlier):
        return []
    field = next((name for name in ("valid_from", "valid_until") if getattr(price, name) is not None), None)
    when = " for a part of this time" if field else ""
    return [document.fault([*row, field] if field else row, f"{price.target} has a price already{when}")]
