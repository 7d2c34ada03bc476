"""What is wrong with an input, in words that do not depend on how the schema came here."""

import pytest

from services.scheduler.adapters.json_schema import JsonSchemaChecker


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (9999, "must be at most 1280 px"),
        (1, "must be at least 64 px"),
        (100, "must be a multiple of 16 px"),
        ("100", "must be a whole number"),
    ],
)
def test_bounds_come_before_multiples_and_whole_numbers_have_no_point(value, problem, turned):
    about = {"type": "integer", "multipleOf": 16.0, "minimum": 64.0, "maximum": 1280.0, "x-forge-unit": "px"}
    schema = dict(reversed(about.items())) if turned else about
    (found,) = JsonSchemaChecker().check({"width": schema}, {"width": value})
    assert found.description == problem
