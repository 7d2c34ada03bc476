"""Adding up what an account used, and drawing it."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.web.domain.chart import Unit, round_up, stacked, time_unit
from services.web.domain.usage import MICRO, OTHERS, amounts_of, calendar_of, groups_of, series_of

DOLLARS = Unit(1.0, lambda value: f"${value:g}")


def a_row(day: str = "2026-11-01", slug: str = "toy", **given: Any) -> dict[str, Any]:
    return {"day": day, "slug": slug, "attempts": 1, "gpu_seconds": 1.0, "cost_usd": 0.1} | given


ROWS = st.lists(
    st.builds(
        a_row,
        slug=st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h"]),
        day=st.dates().map(lambda day: f"2026-11-{day.day % 28 + 1:02d}"),
        cost_usd=st.integers(0, 10**9).map(lambda micro: micro / MICRO),
        gpu_seconds=st.integers(0, 10**9).map(lambda micro: micro / MICRO),
    ),
    max_size=30,
)


def cost(amounts: Any) -> float:
    return amounts.cost_usd


def test_what_floats_do_not_add_up_to_is_exact_here() -> None:
    rows = [a_row(cost_usd=0.1)] * 3

    assert sum(row["cost_usd"] for row in rows) != 0.3
    assert amounts_of(rows).cost_usd == 0.3


@given(ROWS)
def test_groups_and_series_leave_nothing_out(rows: list[Mapping[str, Any]]) -> None:
    everything = amounts_of(rows)
    groups = groups_of(rows, lambda row: row["slug"])
    series = series_of(rows, calendar_of("2026-11-01", "2026-11-30", rows), cost)

    assert sum(group.amounts.cost_micro_usd for group in groups) == everything.cost_micro_usd
    assert sum(group.amounts.gpu_us for group in groups) == everything.gpu_us
    assert sum(round(value * MICRO) for values in series.values() for value in values) == everything.cost_micro_usd
    assert len(series) <= 6


def test_the_dearest_group_is_first_and_has_its_share() -> None:
    groups = groups_of([a_row(slug="a"), a_row(slug="b", cost_usd=0.3)], lambda row: row["slug"])

    assert [(group.name, group.share) for group in groups] == [("b", 0.75), ("a", 0.25)]


def test_shares_are_of_time_where_no_price_was_known() -> None:
    rows = [a_row(slug="a", cost_usd=0.0, gpu_seconds=1.0), a_row(slug="b", cost_usd=0.0, gpu_seconds=3.0)]

    assert [group.share for group in groups_of(rows, lambda row: row["slug"])] == [0.75, 0.25]


def test_the_cheapest_of_many_models_are_one_series() -> None:
    rows = [a_row(slug=f"m{number}", cost_usd=float(number)) for number in range(1, 9)]

    series = series_of(rows, calendar_of("2026-11-01", "2026-11-01", rows), cost)

    assert list(series) == ["m8", "m7", "m6", "m5", "m4", OTHERS]
    assert series[OTHERS] == [6.0]


def test_every_day_of_the_period_is_there() -> None:
    assert calendar_of("2026-02-27", "2026-03-02", []).periods == (
        "2026-02-27",
        "2026-02-28",
        "2026-03-01",
        "2026-03-02",
    )


def test_a_long_time_is_shown_by_the_months_it_was_used_in() -> None:
    rows = [a_row("2025-11-30"), a_row("2026-02-01", cost_usd=0.5)]
    calendar = calendar_of("0001-01-01", "9999-12-31", rows)

    assert calendar.periods == ("2025-11", "2025-12", "2026-01", "2026-02")
    assert series_of(rows, calendar, cost) == {"toy": [0.1, 0.0, 0.0, 0.5]}


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=40),
    st.integers(1, 5),
)
def test_bars_stay_within_the_box_and_touch_each_other(values: list[float], count: int) -> None:
    periods = [f"{number}" for number in range(len(values))]
    chart = stacked(periods, {f"s{number}": values for number in range(count)}, str, DOLLARS)

    for bar in chart.bars:
        assert 0 <= bar.x < bar.x + bar.width <= 100
        floor = 100.0
        for part in bar.parts:
            assert part.y + part.height == pytest.approx(floor, abs=0.01)
            floor = part.y
        assert floor >= -0.01


def test_a_bar_is_as_high_as_its_value() -> None:
    chart = stacked(["mon", "tue", "wed"], {"a": [2.0, 0.0, 1.0], "b": [2.0, 0.0, 0.0]}, DOLLARS.label, DOLLARS)

    assert chart.axis == ("$4", "$2", "0")
    assert [(part.y, part.height) for part in chart.bars[0].parts] == [(50, 50), (0, 50)]
    assert chart.bars[1].parts == ()
    assert chart.bars[2].parts[0].label == "wed · a · $1"


def test_nothing_used_is_an_empty_chart() -> None:
    chart = stacked(["mon"], {}, str, DOLLARS)

    assert chart.bars[0].parts == ()
    assert chart.axis[-1] == "0"


@given(st.floats(1e-9, 1e9))
def test_the_top_of_an_axis_is_round_and_just_above(value: float) -> None:
    top = round_up(value)

    assert value <= top * (1 + 1e-6)
    assert top <= value * 2 * (1 + 1e-6)


@pytest.mark.parametrize(("longest", "written"), [(90.0, "90 s"), (600.0, "10 min"), (7200.0, "2 h")])
def test_times_are_counted_in_what_fits(longest: float, written: str) -> None:
    unit = time_unit({"a": [longest]})

    assert unit.label(longest / unit.size) == written
