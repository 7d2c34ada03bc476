"""What renders cost, to the last millionth of a dollar."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.billing_estimate.domain.receipts import AttemptUse, Receipt, charge, cost_micro_usd, shared
from services.billing_estimate.domain.targets import Target
from services.billing_estimate.domain.usage import period_of
from services.chassis.errors import InvalidInput

NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)
device_us = st.integers(0, 10**12)
prices = st.integers(0, 100_000_000).map(lambda micro: micro / 1e6)


@given(st.dictionaries(st.sampled_from(["starting", "denoising", "muxing", "odd", "queued"]), device_us), prices)
def test_the_lines_of_an_attempt_add_up_to_it_exactly(phases: dict[str, int], price: float) -> None:
    use = AttemptUse(1, Target("H200", "eu"), False, NOW, NOW, "succeeded", phases)
    charged = charge(use, price)
    if phases:
        assert sum(phase.cost_micro_usd or 0 for phase in charged.phases) == charged.cost_micro_usd
    assert sum(phase.gpu_us for phase in charged.phases) == charged.gpu_us == sum(phases.values())
    assert charged.cost_micro_usd is not None
    exact = Fraction(str(price)) * charged.gpu_us / 3600
    assert abs(charged.cost_micro_usd - exact) <= Fraction(1, 2), "rounded once"
    for phase in charged.phases:
        assert abs((phase.cost_micro_usd or 0) - exact * phase.gpu_us / max(charged.gpu_us, 1)) < 2


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**9), min_size=1, max_size=8))
def test_what_is_shared_adds_up_and_is_in_proportion(total: int, sizes: list[int]) -> None:
    parts = shared(total, sizes)
    assert sum(parts) == total
    if whole := sum(sizes):
        assert all(abs(part - Fraction(total * size, whole)) < 1 for part, size in zip(parts, sizes, strict=True))


def test_a_price_counts_as_it_is_written_not_as_it_is_stored() -> None:
    assert cost_micro_usd(3_600_000_000, 7.15) == 7_150_000
    assert cost_micro_usd(1_000_000, 0.05) == 14  # 13.9
    assert cost_micro_usd(11_000_000, 1e-07) == 0


def test_an_attempt_without_a_price_has_no_cost_and_one_at_no_price_costs_nothing(an_attempt) -> None:
    assert charge(an_attempt(), None).cost_micro_usd is None
    assert {phase.cost_micro_usd for phase in charge(an_attempt(), None).phases} == {None}
    assert charge(an_attempt(), 0.0).cost_micro_usd == 0


def test_the_phases_of_a_line_come_in_the_order_they_ran(an_attempt) -> None:
    assert [phase.phase for phase in charge(an_attempt(), 1.0).phases] == ["starting", "denoising", "decoding"]


def test_a_render_that_was_tried_again_pays_each_attempt_for_what_it_held(a_render, an_attempt) -> None:
    lost = replace(an_attempt(outcome="lost"), phase_gpu_us={"denoising": 4_000_000})
    receipt = Receipt(a_render(), (charge(lost, 4.5), charge(an_attempt(attempt=2), 4.5)))
    assert (receipt.gpu_us, receipt.cost_micro_usd) == (15_000_000, 5_000 + 13_750)
    assert receipt.phase_gpu_us == {"denoising": 13_000_000, "starting": 1_000_000, "decoding": 1_000_000}
    assert receipt.outcome is None, "it did not succeed in one go"


def test_costs_add_up_as_far_as_prices_are_known(a_render, an_attempt) -> None:
    free, dear = charge(an_attempt(), None), charge(an_attempt(attempt=2), 4.5)
    assert Receipt(a_render(), (free, dear)).cost_micro_usd == 13_750
    assert Receipt(a_render(), (free,)).cost_micro_usd is None
    assert Receipt(a_render(status="canceled"), ()).cost_micro_usd == 0


def test_only_a_render_that_succeeded_in_one_go_is_compared_with_its_estimate(a_render, an_attempt) -> None:
    whole = charge(an_attempt(), 4.5)
    outcome = Receipt(a_render(), (whole,)).outcome
    assert outcome is not None
    assert outcome.error == pytest.approx(0.1)
    for render, charges in (
        (a_render(status="failed"), (whole,)),
        (a_render(is_final=False), (whole,)),
        (a_render(estimated_gpu_seconds=None), (whole,)),
        (a_render(), (replace(whole, resumed_steps=3),)),
        (a_render(), (whole, replace(whole, attempt=2))),
        (a_render(), (charge(an_attempt(phase_gpu_us={}), 4.5),)),
        (a_render(), ()),
    ):
        assert Receipt(render, charges).outcome is None


def test_usage_is_asked_for_by_days_and_covers_the_last_thirty_unless_said() -> None:
    period = period_of("", "", NOW)
    assert (period.since, period.until) == (date(2026, 10, 21), date(2026, 11, 20))
    earlier = period_of("", "2026-03-31", NOW)
    assert earlier.until - earlier.since == timedelta(days=30)
    assert period_of("2026-11-20", "2026-11-20", NOW).since == date(2026, 11, 20)


@pytest.mark.parametrize(
    ("since", "until", "fields"),
    [
        ("yesterday", "20261120", ["until", "since"]),
        ("2026-11-21", "", ["since"]),
        ("2026-02-30", "", ["since"]),
        ("2026-W01-1", "", ["since"]),
    ],
)
def test_days_that_are_none_are_refused_by_name(since: str, until: str, fields: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        period_of(since, until, NOW)
    assert [violation.field for violation in caught.value.violations] == fields
