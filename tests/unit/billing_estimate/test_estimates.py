"""What requests cost."""

from pathlib import Path

import pytest

from services.billing_estimate.adapters.yaml_price_book import YamlPriceBook
from services.billing_estimate.domain import (
    Figure,
    NoEstimate,
    Pin,
    Price,
    UnknownTarget,
    VersionFigures,
    estimate_run,
)
from services.chassis.config import REPOSITORY
from services.chassis.strict_yaml import ConfigurationInvalid

ANY = Pin(None, None)
PRICES = YamlPriceBook(REPOSITORY / "config" / "prices.yaml").prices()
SKYREELS = VersionFigures(
    slug="skywork-skyreels-v2",
    version="df",
    figures=(
        Figure("B200", "us-central1", 121_000, 31_600, 1),
        Figure("H100", None, None, None, None),
        Figure("H200", "eu-north2", 211_000, None, 1),
        Figure("RTX6000", "us-central1", 491_000, 22_700, 1),
    ),
    output_seconds=97 / 24,
)


def test_the_price_book_holds_the_published_prices_and_none_for_h100() -> None:
    assert [(price.gpu_type, price.region, price.cost_per_gpu_hour_usd) for price in PRICES] == [
        ("B200", "us-central1", 7.15),
        ("B300", "uk-south1", 7.85),
        ("H200", "eu-north2", 4.50),
        ("L40S", "eu-north1", 1.82),
        ("RTX6000", "us-central1", 1.80),
    ]
    assert all(price.source for price in PRICES)


def test_the_cheapest_request_may_be_on_the_dearest_hour() -> None:
    estimate = estimate_run(SKYREELS, PRICES, ANY)
    cheapest, dearest_of_two = estimate.targets[0], estimate.targets[1]
    assert (cheapest.gpu_type, round(cheapest.warm_request_cost_usd, 4)) == ("B200", 0.2403)
    assert (dearest_of_two.gpu_type, round(dearest_of_two.warm_request_cost_usd, 4)) == ("RTX6000", 0.2455)
    assert cheapest.cost_per_gpu_hour_usd > dearest_of_two.cost_per_gpu_hour_usd
    assert estimate.selected is estimate.lowest_cost is cheapest


def test_a_first_cold_request_pays_for_the_start_as_well() -> None:
    estimate = estimate_run(SKYREELS, PRICES, Pin("B200", "us-central1"))
    assert estimate.selected.first_cold_request_cost_usd == pytest.approx((31.6 + 121) / 3600 * 7.15)


def test_an_unknown_cold_start_gives_no_cold_cost_rather_than_a_warm_one() -> None:
    estimate = estimate_run(SKYREELS, PRICES, Pin("H200", None))
    assert estimate.selected.first_cold_request_cost_usd is None


def test_cost_per_output_second_is_for_the_length_of_the_example() -> None:
    selected = estimate_run(SKYREELS, PRICES, ANY).selected
    assert selected.cost_per_output_second_usd == pytest.approx(121 / 3600 * 7.15 / (97 / 24))


def test_the_fastest_target_need_not_be_the_cheapest() -> None:
    figures = (Figure("B300", "uk-south1", 10_000, 1, 1), Figure("L40S", "eu-north1", 20_000, 1, 1))
    estimate = estimate_run(VersionFigures("s", "v", figures, 1.0), PRICES, ANY)
    assert (estimate.fastest.gpu_type, estimate.lowest_cost.gpu_type) == ("B300", "L40S")


def test_of_two_figures_of_a_target_the_first_counts() -> None:
    figures = (Figure("B200", "us-central1", 10, 1, 1), Figure("B200", "us-central1", 5, 1, 1))
    estimate = estimate_run(VersionFigures("s", "v", figures, 1.0), PRICES, ANY)
    assert [target.request_ms for target in estimate.targets] == [10]


@pytest.mark.parametrize("pin", [Pin("H100", None), Pin("B200", "eu-north1"), Pin("L40S", "eu-north1")])
def test_a_known_target_without_figure_or_price_has_no_estimate(pin: Pin) -> None:
    with pytest.raises(NoEstimate):
        estimate_run(SKYREELS, PRICES, pin)


def test_a_figure_without_a_price_and_a_price_without_a_figure_give_no_estimate() -> None:
    with pytest.raises(NoEstimate):
        estimate_run(SKYREELS, [Price("X", "y", 1.0, "test")], ANY)
    with pytest.raises(NoEstimate):
        estimate_run(VersionFigures("s", "v", (), 1.0), PRICES, ANY)


def test_an_example_without_a_length_has_no_estimate() -> None:
    with pytest.raises(NoEstimate, match="does not say how long"):
        estimate_run(VersionFigures("s", "v", SKYREELS.figures, None), PRICES, ANY)


def test_a_target_that_neither_a_price_nor_a_figure_knows_is_unknown() -> None:
    with pytest.raises(UnknownTarget) as caught:
        estimate_run(SKYREELS, PRICES, Pin("b2000", "mars"))
    assert [violation.field for violation in caught.value.violations] == ["gpu_type", "region"]
    assert caught.value.metadata["known"] == (
        "B200@us-central1,B300@uk-south1,H200@eu-north2,L40S@eu-north1,RTX6000@us-central1"
    )


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("{gpu_type: A, region: b, cost_per_gpu_hour_usd: 0}", "Input should be greater than 0"),
        ("{gpu_type: A, region: b, cost_per_gpu_hour_usd: .inf}", "Input should be a finite number"),
        ("{gpu_type: A, region: b, cost_per_gpu_hour_usd: '1'}", "Input should be a valid number"),
        ("{gpu_type: A, cost_per_gpu_hour_usd: 1}", "rows[1].region: Field required"),
        ("{gpu_type: X, region: y, cost_per_gpu_hour_usd: 2}", "rows[1]: X in y has a price already"),
    ],
)
def test_a_wrong_price_book_is_refused_with_file_line_and_field(tmp_path: Path, row: str, fault: str) -> None:
    path = tmp_path / "prices.yaml"
    good = "{gpu_type: X, region: y, cost_per_gpu_hour_usd: 1}"
    path.write_text(f"prices:\n  - source: test\n    rows:\n      - {good}\n      - {row}\n")
    with pytest.raises(ConfigurationInvalid) as caught:
        YamlPriceBook(path)
    assert caught.value.faults[0].startswith(f"{path}:5: prices[0].rows[1]")
    assert fault in caught.value.faults[0]
