"""Renders that are wanted by a time go to the cheapest target that keeps it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.scheduler.domain.durations import Span
from services.scheduler.domain.facts import Prefer
from services.scheduler.domain.placement import Expectation, Start, Take, Wait, place
from services.scheduler.domain.runtime import RuntimeStatus
from services.scheduler.ports import Estimate
from tests.unit.scheduler import house_bench
from tests.unit.scheduler.test_placing import ALPHA, H200, L40S, NOON, a_runtime, a_situation

# The L40S is the cheaper one and takes 60 s from cold in nine of ten cases; the H200 takes 32 s.
EXPECTED = {
    H200: Expectation(run=Span(10.0, 12.0), start=Span(15.0, 20.0), warm_usd=0.2, cold_usd=0.6),
    L40S: Expectation(run=Span(30.0, 40.0), start=Span(15.0, 20.0), warm_usd=0.1, cold_usd=0.3),
}


def placed(*runtimes, finish_in, demand=ALPHA):
    return place(demand, a_situation(*runtimes, expected=EXPECTED), ahead=0, finish_in=finish_in)


@pytest.mark.parametrize(("finish_in", "slot_id"), [(3600.0, "small"), (60.0, "small"), (59.0, "big"), (32.0, "big")])
def test_the_cheapest_that_is_done_in_time_with_its_start_is_chosen(finish_in, slot_id):
    choice = placed(finish_in=finish_in)
    assert isinstance(choice, Start)
    assert choice.slot.id == slot_id
    assert f"the cheapest target expected to be done in {finish_in:.0f} s" in choice.why


def test_the_wish_counts_for_more_than_the_preference():
    choice = placed(finish_in=3600.0, demand=replace(ALPHA, prefer=Prefer.FASTEST))
    assert isinstance(choice, Start)
    assert choice.slot.id == "small"


def test_the_fastest_is_chosen_when_none_is_done_in_time_and_the_reason_says_so():
    choice = placed(finish_in=5.0)
    assert isinstance(choice, Start)
    assert choice.slot.id == "big"
    assert "none is expected to be done in 5 s" in choice.why


def test_a_warm_runtime_that_is_too_slow_gives_place_to_a_start_that_is_not():
    late, early = (placed(a_runtime("small"), finish_in=seconds) for seconds in (35.0, 45.0))
    assert isinstance(late, Start)
    assert late.slot.id == "big"
    assert isinstance(early, Take)
    assert early.runtime.slot_id == "small"


def test_a_warm_runtime_that_costs_less_than_a_start_of_the_cheaper_target_is_taken():
    choice = placed(a_runtime("big"), finish_in=3600.0)
    assert isinstance(choice, Take), "0.2 warm is less than 0.3 with a start"


def test_without_anything_free_it_waits_as_all_do():
    busy = [a_runtime(slot, status=RuntimeStatus.WARM, render_id="other") for slot in ("big", "small")]
    assert isinstance(placed(*busy, finish_in=60.0), Wait)


def test_a_deadline_keeps_the_cheapest_from_being_too_slow_and_decides_nothing_for_the_fastest(a_render):
    deadline = NOON + timedelta(minutes=5)
    assert replace(a_render(), deadline=deadline).choose_by == deadline
    assert replace(a_render(), deadline=deadline, prefer=Prefer.FASTEST).choose_by is None
    wished = replace(a_render(), deadline=deadline, finish_within_seconds=60.0, prefer=Prefer.FASTEST)
    assert wished.choose_by == wished.created_at + timedelta(minutes=1)


FLEET = house_bench.two_slots()


class MeasuredEstimates:
    """What follows from runs: a second a frame on the L40S, a quarter of that on the H200 at a little more money."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []

    async def of(self, slug, model_version, shape=None):
        self.asked.append(shape or {})
        seconds = float((shape or {}).get("num_frames", 1))
        return {
            ("H200", "eu-north2"): self._estimate(seconds / 4, seconds * 0.012),
            ("L40S", "eu-north1"): self._estimate(seconds, seconds * 0.01),
        }

    def _estimate(self, seconds, usd):
        return Estimate(
            request_seconds=seconds,
            request_seconds_p90=seconds,
            rests_on_runs=True,
            start_seconds=0.0,
            warm_usd=usd,
            cold_usd=usd,
            usd_per_hour=1.0,
        )


async def test_what_is_expected_is_that_of_the_renders_own_inputs_never_of_its_texts(open_house):
    estimates = MeasuredEstimates()
    async with open_house(fleet=FLEET, estimates=estimates) as house:
        render = await house.create(num_frames=9, prompt="a secret", finish_within_seconds=4)
        ended = await house.finished(render)
    assert ended.target == house_bench.H200
    assert ended.estimated_gpu_seconds == 2.25
    assert ended.estimated_cost_usd == pytest.approx(0.108)
    assert all("prompt" not in shape for shape in estimates.asked)


async def test_a_wish_that_no_target_is_expected_to_keep_is_warned_of_and_stops_nothing(open_house):
    async with open_house(fleet=FLEET, estimates=MeasuredEstimates()) as house:
        ended = await house.finished(await house.create(num_frames=41, finish_within_seconds=2))
    assert ended.status == "succeeded"
    assert ended.target == house_bench.H200
    assert any("finish_within_seconds" in warning and "10 s" in warning for warning in ended.warnings)


async def test_a_limit_of_cost_is_held_against_the_renders_own_inputs(open_house):
    async with open_house(fleet=FLEET, estimates=MeasuredEstimates()) as house:
        ended = await house.finished(await house.create(num_frames=9, max_cost_usd=0.1))
    assert ended.target == house_bench.L40S
