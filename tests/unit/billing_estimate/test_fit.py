"""Learning what work costs from measured values."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.billing_estimate.domain.fit import Observation, fit_line
from services.billing_estimate.domain.least_squares import nonnegative_minimum

amount = st.floats(0.1, 10.0)
row = st.tuples(amount, amount, amount)


def _noisy(constant: float, slopes: tuple[float, ...], count: int, noise: float) -> list[Observation]:
    chance = random.Random(7)
    found = []
    for _ in range(count):
        amounts = tuple(chance.uniform(0.3, 4.0) for _ in slopes)
        value = constant + sum(s * a for s, a in zip(slopes, amounts, strict=True))
        found.append(Observation(amounts, value * (1 + chance.gauss(0.0, noise))))
    return found


def test_known_coefficients_come_back_from_noisy_values() -> None:
    line = fit_line(_noisy(500.0, (7000.0, 2000.0), 150, 0.03), shares=(0.5, 0.5))
    assert line.constant == pytest.approx(500.0, rel=0.5)
    assert line.slopes == pytest.approx((7000.0, 2000.0), rel=0.05)
    assert line.at((2.0, 1.0)) == pytest.approx(16_500.0, rel=0.02)


@given(st.lists(st.floats(1.0, 1e6), min_size=1, max_size=20), row, row)
def test_with_one_shape_measured_the_line_is_proportional(
    values: list[float], shape: tuple[float, ...], shares: tuple[float, ...]
) -> None:
    line = fit_line([Observation(shape, value, least=1e-6) for value in values], shares)
    assert line.constant == pytest.approx(0.0, abs=1e-4 * line.at(shape))
    assert line.at([2 * a for a in shape]) == pytest.approx(2 * line.at(shape), rel=1e-4)
    assert [slope / share for slope, share in zip(line.slopes, shares, strict=True)] == pytest.approx(
        [line.slopes[0] / shares[0]] * 3, rel=1e-3
    )


@given(st.lists(st.tuples(row, st.floats(0.0, 1e6)), min_size=1, max_size=20), row)
def test_nothing_that_costs_time_is_ever_negative(
    measured: list[tuple[tuple[float, ...], float]], shares: tuple[float, ...]
) -> None:
    line = fit_line([Observation(amounts, value) for amounts, value in measured], shares)
    assert min(line.constant, *line.slopes) >= 0.0


def test_one_outlier_moves_little() -> None:
    observations = _noisy(0.0, (7000.0, 2000.0), 40, 0.02)
    slow = Observation((1.0, 1.0), 45_000.0)
    without, beside_it = (fit_line(each, (0.8, 0.2)) for each in (observations, [*observations, slow]))
    assert beside_it.at((1.0, 1.0)) == pytest.approx(without.at((1.0, 1.0)), rel=0.02)


def test_newer_values_count_more() -> None:
    old = [Observation((1.0,), 1000.0, weight=0.1) for _ in range(5)]
    new = [Observation((1.0,), 500.0, weight=1.0) for _ in range(5)]
    assert fit_line([*new, *old], (1.0,)).at((1.0,)) < 600.0


def test_nothing_measured_but_zeros_is_zero() -> None:
    assert fit_line([Observation((1.0,), 0.0)], (1.0,)).at((3.0,)) == 0.0


@given(st.lists(row, min_size=3, max_size=8), st.tuples(*[st.floats(-10, 10)] * 3))
def test_the_solver_finds_the_minimum_that_no_small_move_improves(
    rows: list[tuple[float, ...]], pull: tuple[float, ...]
) -> None:
    gram = [[sum(r[i] * r[j] for r in rows) + (0.01 if i == j else 0.0) for j in range(3)] for i in range(3)]
    x = nonnegative_minimum(gram, pull)
    slope = [sum(gram[i][j] * x[j] for j in range(3)) - pull[i] for i in range(3)]
    for value, down in zip(x, slope, strict=True):
        assert value >= 0.0
        assert down >= -1e-6, "more of it would be better"
        assert value == 0.0 or abs(down) <= 1e-6, "less of it would be better"
