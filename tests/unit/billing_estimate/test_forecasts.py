"""What a run is expected to take."""

import random
from dataclasses import replace
from typing import Any

import pytest

from services.billing_estimate.domain.basis import Figure
from services.billing_estimate.domain.forecast import Forecast, forecast

DOUBLE_STEPS = (1.0, 2.0, 1.0)


def _forecast(basis: Any, history: Any) -> Forecast:
    found = forecast(basis, history)
    assert found is not None
    return found


def test_the_measured_shape_takes_what_it_took(a_basis, a_history, a_run) -> None:
    found = _forecast(a_basis(), a_history(a_run()))
    assert found.seconds_p50 == pytest.approx(10.2)
    assert found.phase_seconds == pytest.approx({"encoding": 0.5, "denoising": 7.5, "decoding": 2.0})
    assert (found.basis, found.sample_count, found.extrapolation) == ("measured", 1, 1.0)


def test_twice_the_steps_take_twice_the_denoising_and_nothing_else_more(a_basis, a_history, a_run) -> None:
    found = _forecast(a_basis(amounts=DOUBLE_STEPS), a_history(a_run()))
    assert found.phase_seconds == pytest.approx({"encoding": 0.5, "denoising": 15.0, "decoding": 2.0})
    assert found.seconds_p50 == pytest.approx(17.7)


def test_with_several_shapes_the_data_decide_what_does_not_grow(a_basis, a_history, a_run) -> None:
    runs = [a_run((1.0, steps, 1.0)) for steps in (0.2, 0.5, 1.0, 1.0, 2.0)]
    runs = [
        replace(run, phase_ms=run.phase_ms | {"denoising": run.phase_ms["denoising"] + 3000}, run_ms=run.run_ms + 3000)
        for run in runs
    ]
    found = _forecast(a_basis(amounts=(1.0, 4.0, 1.0)), a_history(*runs))
    assert found.phase_seconds["denoising"] == pytest.approx(33.0, rel=0.03)


def test_a_phase_without_work_takes_what_it_always_took(a_basis, a_history, a_run) -> None:
    runs = [replace(a_run(), phase_ms=a_run().phase_ms | {"storing": ms}, run_ms=10_500) for ms in (90, 100, 400)]
    found = _forecast(a_basis(amounts=(9.0, 9.0, 9.0)), a_history(*runs))
    assert found.phase_seconds["storing"] == pytest.approx(0.1, rel=0.05)


def test_runs_that_tell_no_phases_give_a_total_only(a_basis, a_history, a_run) -> None:
    found = _forecast(a_basis(amounts=DOUBLE_STEPS), a_history(replace(a_run(), phase_ms={}, run_ms=10_000)))
    assert found.phase_seconds == {}
    assert found.seconds_p50 == pytest.approx(17.5)


def test_the_time_of_a_start_or_a_queue_is_no_part_of_a_run(a_basis, a_history, a_run) -> None:
    told = replace(a_run(), phase_ms=a_run().phase_ms | {"starting": 30_000, "queued": 9_000})
    assert _forecast(a_basis(), a_history(told)) == _forecast(a_basis(), a_history(a_run()))


@pytest.mark.parametrize(("count", "margin"), [(1, 1.5), (2, 1.375), (9, 1.25 + 0.25 / 9), (10, 1.0), (50, 1.0)])
def test_few_samples_widen_the_interval(a_basis, a_history, a_run, count: int, margin: float) -> None:
    found = _forecast(a_basis(), a_history(*[a_run()] * count))
    assert found.seconds_p90 / found.seconds_p50 == pytest.approx(margin, rel=1e-3)
    assert any("rests on" in caveat for caveat in found.caveats) == (count < 10)


def test_half_of_the_runs_stay_within_p50_and_nine_of_ten_within_p90(a_basis, a_history, a_run) -> None:
    chance = random.Random(3)
    runs = [a_run(times=chance.lognormvariate(0.0, 0.1)) for _ in range(100)]
    found = _forecast(a_basis(), a_history(*runs))
    later = [a_run(times=chance.lognormvariate(0.0, 0.1)).run_ms / 1000 for _ in range(1000)]
    assert sum(each <= found.seconds_p50 for each in later) / 1000 == pytest.approx(0.5, abs=0.08)
    assert sum(each <= found.seconds_p90 for each in later) / 1000 == pytest.approx(0.9, abs=0.05)


def test_a_run_slowed_by_a_noisy_machine_does_not_slow_the_estimate(a_basis, a_history, a_run) -> None:
    runs = [a_run(times=times) for times in (1.0, 1.01, 5.0, 0.99, 1.0)]
    assert _forecast(a_basis(), a_history(*runs)).seconds_p50 == pytest.approx(10.2, rel=0.02)


def test_more_work_than_was_measured_widens_the_interval_and_says_so(a_basis, a_history, a_run) -> None:
    history = a_history(*[a_run()] * 20)
    spreads = []
    for times in (1.0, 2.0, 4.0):
        found = _forecast(a_basis(amounts=(times,) * 3), history)
        spreads.append(found.seconds_p90 / found.seconds_p50)
        assert found.extrapolation == pytest.approx(times)
    assert spreads == pytest.approx([1.0, 1.25, 1.5])
    assert "4.0 times the work of the largest measured run" in found.caveats
    less = _forecast(a_basis(amounts=(0.25,) * 3), history)
    assert "4.0 times less work than the smallest measured run" in less.caveats
    assert less.extrapolation == pytest.approx(4.0)


def test_between_measured_sizes_nothing_is_widened(a_basis, a_history, a_run) -> None:
    history = a_history(*[a_run((size,) * 3) for size in (1.0, 4.0) * 10])
    found = _forecast(a_basis(amounts=(2.0, 2.0, 2.0)), history)
    assert found.extrapolation == 1.0
    assert found.seconds_p90 / found.seconds_p50 < 1.05


def test_as_much_work_of_another_kind_than_was_measured_widens_the_interval(a_basis, a_history, a_run) -> None:
    history = a_history(*[a_run()] * 20)
    other = _forecast(a_basis(amounts=(1.0, 0.8, 1.75)), history)
    assert other.extrapolation == pytest.approx(1.0)
    assert other.seconds_p90 / other.seconds_p50 > 1.05


def test_a_part_that_was_never_measured_widens_without_bound_to_its_size_only(a_basis, a_history, a_run) -> None:
    found = _forecast(a_basis(), a_history(*[a_run((1.0, 1.0, 0.0))] * 20))
    assert 1.0 < found.seconds_p90 / found.seconds_p50 < 2.0


def test_without_samples_the_published_time_is_scaled_by_the_work(a_basis, a_history) -> None:
    figure = Figure(model_ms=100_000, cold_start_ms=30_000, sample_count=1)
    example = _forecast(a_basis(), a_history(published=(figure,)))
    assert (example.request_ms, example.basis, example.sample_count) == (100_000, "published", 1)
    assert example.seconds_p90 == pytest.approx(150.0)
    assert (example.cold_start_ms, example.extrapolation, example.phase_seconds) == (30_000, None, {})
    assert example.caveats == ("published by others, not measured here",)
    larger = _forecast(a_basis(amounts=DOUBLE_STEPS), a_history(published=(figure,)))
    assert larger.request_ms == 175_000
    assert "scaled from the published example, whose work it has 1.8 times" in larger.caveats


def test_of_two_published_times_the_first_counts(a_basis, a_history) -> None:
    figures = (Figure(cold_start_ms=7), Figure(model_ms=10, cold_start_ms=8), Figure(model_ms=5))
    found = _forecast(a_basis(), a_history(published=figures))
    assert (found.request_ms, found.cold_start_ms) == (10, 7)


def test_nobody_knows_a_time_where_nothing_was_measured_or_published(a_basis, a_history) -> None:
    assert forecast(a_basis(), a_history(published=(Figure(),))) is None


def test_what_was_measured_here_counts_before_what_others_published(a_basis, a_history, a_run) -> None:
    figure = Figure(model_ms=100_000, cold_start_ms=30_000)
    found = _forecast(a_basis(), a_history(a_run(), published=(figure,), cold_start_ms=(5_000, 90_000, 6_000)))
    assert (found.basis, found.request_ms, found.cold_start_ms) == ("measured", 10_200, 6_000)
    partly = _forecast(a_basis(), a_history(a_run(), published=(figure,)))
    assert partly.cold_start_ms == 30_000
    assert "the time of a start is published by others" in partly.caveats


def test_an_imitation_says_that_it_is_one(a_basis, a_history, a_run) -> None:
    found = _forecast(a_basis(), a_history(a_run(), simulated=True))
    assert found.basis == "simulated"
    assert found.caveats[:2] == ("simulated: the times are those of an imitation", "rests on 1 run")


def test_memory_grows_with_the_input_and_is_never_below_what_a_smaller_one_needed(a_basis, a_history, a_run) -> None:
    runs = [a_run(memory=memory, peak_allocated_bytes=5e9 + memory * 1e9) for memory in (1.0, 2.0, 3.0)]
    found = _forecast(a_basis(memory=4.0), a_history(*runs))
    assert found.peak_allocated_bytes == pytest.approx(9e9, rel=0.05)
    assert found.peak_reserved_bytes is None
    one = _forecast(a_basis(memory=2.0), a_history(a_run(peak_allocated_bytes=6e9)))
    assert one.peak_allocated_bytes == pytest.approx(9e9), "half of it is taken to grow"
    odd = [a_run(memory=1.0, peak_allocated_bytes=9e9), a_run(memory=3.0, peak_allocated_bytes=6e9)]
    at_most = _forecast(a_basis(memory=3.0), a_history(*odd)).peak_allocated_bytes
    assert at_most is not None
    assert at_most >= 9e9
