"""What an inference body says of where, how soon and within what limits: every wrong value is named with its remedy."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.domain.facts import Prefer, Priority
from services.scheduler.domain.routing import ROUTING_FIELDS, Terms, take_apart

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

WRONG = {
    "model": ["", 5, True, [], {}],
    "model_version": ["", 1.5],
    "gpu_type": ["", 7, ["H200"]],
    "region": ["", False],
    "request_id": ["", 5, "x" * 201],
    "priority": ["urgent", "HIGH", 1, ["high"], {"high": 1}],
    "prefer": ["best", 0, {}],
    "max_cost_usd": [0, -1, "1", True, math.nan, math.inf, [1]],
    "deadline": [
        "tomorrow",
        "2026-11-20T15:04:05",
        "2026-11-20",
        "2026-13-45T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2026-11-20T11:59:59Z",
        "2026-11-20T12:00:00Z",
        1763640000,
    ],
    "pause_after_step": [0, -3, 1.5, "2", True, math.nan, math.inf, 1e9],
    "on_out_of_memory": ["pray", True, ["fail"]],
    "finish_within_seconds": [0, -5, 0.5, "3m", True, math.nan, math.inf, 1e9],
}
REMEDIES = {
    "priority": "low, normal, high",
    "prefer": "cheapest, fastest",
    "on_out_of_memory": "make_room, fail",
    "max_cost_usd": "above 0",
    "pause_after_step": "at least 1",
    "finish_within_seconds": "seconds from 1 to 604800",
    "request_id": "",
}


def test_every_field_has_its_wrong_values():
    assert WRONG.keys() == ROUTING_FIELDS


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_a_wrong_value_gives_one_violation_that_names_the_field_and_the_remedy(field, value):
    _, violations = take_apart({"model": "alpha", field: value}, None, NOON)
    assert [violation.field for violation in violations] == [field]
    assert violations[0].description.startswith("must ")
    assert REMEDIES.get(field, "") in violations[0].description


def test_all_that_is_wrong_is_told_at_once_a_missing_model_included():
    _, violations = take_apart({"priority": "urgent", "prefer": "best", "prompt": 5}, None, NOON)
    assert [violation.field for violation in violations] == ["prefer", "priority", "model"]
    assert violations[-1].description.startswith("is required")


def test_a_body_is_taken_apart_into_routing_and_inputs():
    body = {
        "model": "alpha",
        "model_version": "v1",
        "gpu_type": "H200",
        "region": "eu-north2",
        "request_id": "key",
        "priority": "high",
        "prefer": "fastest",
        "max_cost_usd": 2,
        "deadline": "2026-11-20T15:00:00+02:00",
        "pause_after_step": 3.0,
        "on_out_of_memory": "fail",
        "finish_within_seconds": 180,
        "prompt": "a cat",
    }
    request, violations = take_apart(body, None, NOON)
    assert violations == []
    assert request.inputs == {"prompt": "a cat"}
    assert (request.slug, request.model_version, request.request_id) == ("alpha", "v1", "key")
    assert (request.gpu_type, request.region) == ("H200", "eu-north2")
    assert request.terms == Terms(Priority.HIGH, Prefer.FASTEST, 2.0, NOON + timedelta(hours=1), 3, True, 180.0)


def test_what_is_left_out_or_null_has_its_default():
    request, violations = take_apart(dict.fromkeys(ROUTING_FIELDS - {"model"}) | {"model": "alpha"}, None, NOON)
    assert violations == []
    assert request.terms == Terms()


def test_the_model_stands_in_the_path_or_in_the_body_and_not_twice_differently():
    assert take_apart({}, "alpha", NOON)[0].slug == "alpha"
    assert take_apart({"model": "alpha"}, "alpha", NOON)[1] == []
    _, violations = take_apart({"model": "beta"}, "alpha", NOON)
    assert [(v.field, "'alpha'" in v.description) for v in violations] == [("model", True)]
    _, violations = take_apart({}, None, NOON)
    assert [v.field for v in violations] == ["model"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(ROUTING_FIELDS)), anything))
def test_no_body_is_so_wrong_that_it_cannot_be_told_and_no_field_is_told_of_twice(body):
    _, violations = take_apart(body, "alpha", NOON)
    fields = [violation.field for violation in violations]
    assert len(fields) == len(set(fields))
    assert set(fields) <= body.keys()
