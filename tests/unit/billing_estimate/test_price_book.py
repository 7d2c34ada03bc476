"""What devices cost, and when."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.billing_estimate.adapters.yaml_price_book import YamlPriceBook
from services.billing_estimate.domain.prices import Price, holding_at, price_at
from services.billing_estimate.domain.targets import Target
from services.chassis.config import REPOSITORY
from services.chassis.strict_yaml import ConfigurationInvalid

NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
X = Target("X", "y")


def _book(tmp_path: Path, *rows: str) -> YamlPriceBook:
    path = tmp_path / "prices.yaml"
    path.write_text("prices:\n  - source: test\n    rows:\n" + "".join(f"      - {row}\n" for row in rows))
    return YamlPriceBook(path)


def test_the_price_book_holds_the_published_prices_an_assumption_for_the_cpu_and_none_for_h100() -> None:
    prices = YamlPriceBook(REPOSITORY / "config" / "prices.yaml").prices()
    assert [(price.gpu_type, price.region, price.cost_per_gpu_hour_usd) for price in prices] == [
        ("B200", "us-central1", 7.15),
        ("B300", "uk-south1", 7.85),
        ("CPU", "local", 0.05),
        ("H200", "eu-north2", 4.50),
        ("L40S", "eu-north1", 1.82),
        ("RTX6000", "us-central1", 1.80),
    ]
    assert [price.gpu_type for price in prices if "assumption" in price.source] == ["CPU"]
    assert all(price.source for price in prices)


def test_a_price_holds_from_its_first_moment_until_just_before_its_last(tmp_path: Path) -> None:
    prices = _book(
        tmp_path,
        "{gpu_type: X, region: y, cost_per_gpu_hour_usd: 2, valid_from: 2027-01-01}",
        "{gpu_type: X, region: y, cost_per_gpu_hour_usd: 1, valid_until: 2027-01-01T01:00:00+01:00}",
    ).prices()
    assert [price.cost_per_gpu_hour_usd for price in prices] == [1, 2], "in the order of time"
    just_before = NEW_YEAR - timedelta(microseconds=1)
    for moment, usd in ((just_before, 1), (NEW_YEAR, 2)):
        price = price_at(prices, X, moment)
        assert price is not None
        assert price.cost_per_gpu_hour_usd == usd
        assert holding_at(prices, moment) == (price,)


def test_a_target_without_a_price_at_a_moment_has_none() -> None:
    price = Price("X", "y", 1.0, "test", valid_from=NEW_YEAR)
    assert price_at([price], X, NEW_YEAR - timedelta(seconds=1)) is None
    assert price_at([price], Target("X", "z"), NEW_YEAR) is None


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("{gpu_type: A, region: b, cost_per_gpu_hour_usd: 0}", "cost_per_gpu_hour_usd: Input should be greater than 0"),
        ("{gpu_type: A, region: b, cost_per_gpu_hour_usd: .inf}", "Input should be a finite number"),
        ("{gpu_type: A, region: b, cost_per_gpu_hour_usd: '1'}", "Input should be a valid number"),
        ("{gpu_type: A, cost_per_gpu_hour_usd: 1}", "rows[1].region: Field required"),
        ("{gpu_type: X, region: y, cost_per_gpu_hour_usd: 2}", "rows[1]: X in y has a price already"),
        (
            "{gpu_type: X, region: y, cost_per_gpu_hour_usd: 2, valid_from: 2027-01-01}",
            "rows[1].valid_from: X in y has a price already for a part of this time",
        ),
        (
            "{gpu_type: X, region: y, cost_per_gpu_hour_usd: 2, valid_until: 2027-01-01}",
            "rows[1].valid_until: X in y has a price already for a part of this time",
        ),
        (
            "{gpu_type: A, region: b, cost_per_gpu_hour_usd: 2, valid_from: 2027-01-01, valid_until: 2027-01-01}",
            "rows[1].valid_until: must be later than valid_from",
        ),
        (
            "{gpu_type: A, region: b, cost_per_gpu_hour_usd: 2, valid_from: 2027-01-01T00:00:00}",
            "rows[1].valid_from: Value error, a time must name its zone",
        ),
        ("{gpu_type: A, region: b, cost_per_gpu_hour_usd: 2, valid_until: soon}", "rows[1].valid_until: Value error"),
    ],
)
def test_a_wrong_price_book_is_refused_with_file_line_and_field(tmp_path: Path, row: str, fault: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        _book(tmp_path, "{gpu_type: X, region: y, cost_per_gpu_hour_usd: 1}", row)
    assert caught.value.faults[0].startswith(f"{tmp_path / 'prices.yaml'}:5: prices[0].rows[1]")
    assert fault in caught.value.faults[0]
