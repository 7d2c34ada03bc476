"""What requests cost, and where they had best go."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.billing_estimate.adapters.yaml_price_book import YamlPriceBook
from services.billing_estimate.domain.basis import CostBasis, Figure, History
from services.billing_estimate.domain.calibration import Calibration
from services.billing_estimate.domain.errors import NoEstimate
from services.billing_estimate.domain.estimates import Prefer, RunEstimate, Wishes, estimate_targets, select
from services.billing_estimate.domain.prices import Price
from services.billing_estimate.domain.targets import Pin, Target
from services.chassis.config import REPOSITORY
from services.chassis.known import UnknownTarget

ANY = Pin(None, None)
NOW = datetime(2026, 11, 20, tzinfo=UTC)
PRICES = YamlPriceBook(Path(REPOSITORY) / "config" / "prices.yaml").prices()


def _published(gpu_type: str, region: str, model_ms: int | None, cold: int | None = None, **changes: Any) -> History:
    return replace(History(Target(gpu_type, region), published=(Figure(model_ms, cold, 1),)), **changes)


SKYREELS = CostBasis(
    slug="skywork-skyreels-v2",
    version="df",
    parts=(),
    output_seconds=97 / 24,
    histories=(
        _published("B200", "us-central1", 121_000, 31_600),
        _published("H100", "", None),
        _published("H200", "eu-north2", 211_000),
        _published("RTX6000", "us-central1", 491_000, 22_700),
        _published("H100", "eu-north1", 150_000),
    ),
)


def _offering(*gpu_types: str) -> CostBasis:
    return replace(
        SKYREELS, histories=tuple(replace(h, offered=h.target.gpu_type in gpu_types) for h in SKYREELS.histories)
    )


def _estimate(
    basis: CostBasis = SKYREELS, pin: Pin = ANY, wishes: Wishes | None = None, prices: Any = PRICES
) -> RunEstimate:
    return select(basis, estimate_targets(basis, prices, 900.0), prices, pin, wishes)


def test_the_cheapest_request_may_be_on_the_dearest_hour() -> None:
    estimate = _estimate()
    cheapest, dearest_of_two = estimate.targets[0], estimate.targets[1]
    assert (cheapest.target.gpu_type, round(cheapest.warm_request_cost_usd, 4)) == ("B200", 0.2403)
    assert (dearest_of_two.target.gpu_type, round(dearest_of_two.warm_request_cost_usd, 4)) == ("RTX6000", 0.2455)
    assert cheapest.cost_per_gpu_hour_usd > dearest_of_two.cost_per_gpu_hour_usd
    assert estimate.selected is estimate.lowest_cost is cheapest
    assert (
        estimate.explanation
        == "B200 in us-central1 is the cheapest per request of 3 targets; this fleet does not offer it"
    )


def test_a_first_cold_request_pays_for_the_start_as_well() -> None:
    selected = _estimate(pin=Pin("B200", "us-central1")).selected
    assert selected.first_cold_request_cost_usd == pytest.approx((31.6 + 121) / 3600 * 7.15)


def test_an_unknown_cold_start_gives_no_cold_cost_rather_than_a_warm_one() -> None:
    assert _estimate(pin=Pin("H200", None)).selected.first_cold_request_cost_usd is None


def test_cost_per_output_second_is_for_the_length_of_the_video() -> None:
    selected = _estimate().selected
    assert selected.cost_per_output_second_usd == pytest.approx(121 / 3600 * 7.15 / (97 / 24))
    unknown = _estimate(replace(SKYREELS, output_seconds=None)).selected
    assert unknown.cost_per_output_second_usd is None


def test_the_idle_tail_costs_what_the_device_costs() -> None:
    assert _estimate().selected.idle_tail_cost_usd == pytest.approx(900 / 3600 * 7.15)


def test_the_fastest_target_need_not_be_the_cheapest() -> None:
    fast, cheap = _published("B300", "uk-south1", 10_000, 1), _published("L40S", "eu-north1", 20_000, 1)
    estimate = _estimate(replace(SKYREELS, histories=(fast, cheap)))
    assert (estimate.fastest.target.gpu_type, estimate.lowest_cost.target.gpu_type) == ("B300", "L40S")


@pytest.mark.parametrize("pin", [Pin("H100", None), Pin("B200", "eu-north1"), Pin("L40S", "eu-north1")])
def test_a_known_target_without_time_or_price_has_no_estimate(pin: Pin) -> None:
    with pytest.raises(NoEstimate):
        _estimate(pin=pin)


def test_a_time_without_a_price_and_a_price_without_a_time_give_no_estimate() -> None:
    with pytest.raises(NoEstimate):
        _estimate(prices=[Price("X", "y", 1.0, "test")])
    with pytest.raises(NoEstimate):
        _estimate(replace(SKYREELS, histories=()))


def test_a_target_with_a_time_but_no_price_is_listed_apart() -> None:
    estimates = estimate_targets(SKYREELS, PRICES, 900.0)
    assert [times.target for times in estimates.unpriced] == [Target("H100", "eu-north1")]
    assert Target("H100", "eu-north1") not in {each.target for each in estimates.priced}


def test_a_target_that_neither_prices_nor_history_know_is_unknown() -> None:
    with pytest.raises(UnknownTarget) as caught:
        _estimate(pin=Pin("b2000", "mars"))
    assert [violation.field for violation in caught.value.violations] == ["gpu_type", "region"]
    assert "did you mean 'B200'?" in caught.value.violations[0].description
    assert caught.value.metadata["known"] == (
        "B200@us-central1,B300@uk-south1,CPU@local,H100@eu-north1,H200@eu-north2,L40S@eu-north1,RTX6000@us-central1"
    )


def test_with_wishes_a_target_that_is_offered_comes_before_a_cheaper_one_that_is_not() -> None:
    estimate = _estimate(_offering("RTX6000", "H200"), wishes=Wishes())
    assert estimate.selected.target.gpu_type == "RTX6000"
    assert estimate.explanation == "RTX6000 in us-central1 is the cheapest of the 2 that this fleet offers"
    assert estimate.lowest_cost.target.gpu_type == "B200"


def test_who_prefers_speed_gets_the_fastest() -> None:
    estimate = _estimate(_offering("RTX6000", "H200"), wishes=Wishes(prefer=Prefer.FASTEST))
    assert estimate.selected.target.gpu_type == "H200"


def test_a_time_limit_selects_the_cheapest_that_keeps_it_with_a_start_before_it() -> None:
    basis = _offering("RTX6000", "H200", "B200")
    within = Wishes(finish_within_seconds=491 * 1.5 + 22.7)
    assert _estimate(basis, wishes=within).selected.target.gpu_type == "B200"
    slower = replace(within, finish_within_seconds=400.0)
    only_slow = _estimate(_offering("RTX6000", "H200"), wishes=slower)
    assert only_slow.selected.target.gpu_type == "H200"
    assert [each.target.gpu_type for each in only_slow.targets if not each.keeps_limits] == ["RTX6000"]
    assert only_slow.explanation == (
        "H200 in eu-north2 is the cheapest expected to end within 400 s, a start included, "
        "of the 2 that this fleet offers"
    )


def test_when_nothing_keeps_the_time_the_fastest_is_selected_and_it_says_so() -> None:
    estimate = _estimate(_offering("RTX6000", "H200"), wishes=Wishes(finish_within_seconds=5.0))
    assert estimate.selected.target.gpu_type == "H200"
    assert not estimate.selected.keeps_limits
    assert estimate.explanation.startswith("no target is expected to end within 5 s, a start included; H200")


def test_what_costs_more_than_the_limit_does_not_keep_it_and_is_not_selected() -> None:
    estimate = _estimate(_offering("B200", "H200"), wishes=Wishes(prefer=Prefer.FASTEST, max_cost_usd=0.242))
    assert {each.target.gpu_type for each in estimate.targets if each.keeps_limits} == {"B200"}
    too_little = _estimate(_offering("B200", "H200"), wishes=Wishes(max_cost_usd=0.01))
    assert "none is expected to cost at most $0.01" in too_little.explanation
    assert not any(each.keeps_limits for each in too_little.targets)


def test_of_a_deadline_and_a_time_to_finish_in_the_shorter_counts() -> None:
    wishes = Wishes(finish_within_seconds=60.0)
    assert wishes.with_deadline(NOW + timedelta(seconds=30), NOW).finish_within_seconds == 30.0
    assert wishes.with_deadline(NOW + timedelta(seconds=90), NOW).finish_within_seconds == 60.0
    assert Wishes().with_deadline(NOW - timedelta(seconds=1), NOW).finish_within_seconds == 0.0
    assert Wishes().with_deadline(None, NOW).finish_within_seconds is None


def test_each_target_shows_how_good_its_estimates_were() -> None:
    b200 = Target("B200", "us-central1")
    calibration = Calibration("skywork-skyreels-v2", "df", b200, 3, 0.1, 0.05, 1.0)
    estimates = estimate_targets(SKYREELS, PRICES, 900.0, {b200: calibration})
    assert {e.target: e.times.calibration for e in estimates.priced if e.times.calibration} == {b200: calibration}
