"""Rules of how numbers read."""

import pytest

from forge_cli import words


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "$0.00"), (0.00015, "$0.000150"), (0.0123, "$0.0123"), (1.8, "$1.80"), (1234.5, "$1234.50")],
)
def test_dollars_have_the_digits_that_matter(value, text):
    assert words.dollars(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (40.9, "40 s"), (720, "12 min"), (11_000, "3 h"), (172_800, "2 d")]
)
def test_an_age_has_one_unit(value, text):
    assert words.age(value) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(40.1, 43.04, "40.1–43.0 s"), (652, 674, "10.9–11.2 min"), (4_300, 5_100, "1.2–1.4 h")],
)
def test_bounds_share_their_unit(low, high, text):
    assert words.seconds_range(low, high) == text


@pytest.mark.parametrize(("value", "text"), [(0.12, "+12 %"), (-0.36, "-36 %"), (0.001, "0 %"), (-0.001, "0 %")])
def test_a_difference_has_its_sign_but_for_none(value, text):
    assert words.difference(value) == text
