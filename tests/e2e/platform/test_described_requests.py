"""Requests made up from the OpenAPI document: no server error, and no answer that the document does not have."""

import itertools
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from tests.platforms import Platform

SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
CHECKS = [not_a_server_error, response_schema_conformance, status_code_conformance]
# What a good request sets going for long. Only bad ones are made up for these.
LONG = ("/v1/inference", "/v1/renders", "/v1/videos", "/v1/probes", "/start")
ENDLESS = ("/events",)


def strategy_of(operation: Any) -> Any:
    starts_something = operation.method == "post" and any(part in operation.path for part in LONG)
    mode = GenerationMode.NEGATIVE if starts_something else GenerationMode.POSITIVE
    return operation.as_strategy(generation_mode=mode)


def _ends_at_the_edge(response: Any) -> bool:
    """Whether no operation was reached: a path with a hidden slash is refused before anybody looks where it leads."""
    return response.status_code == 400 and "path_normalization_failed" in response.text


@pytest.mark.slow
@pytest.mark.cut_short
def test_requests_of_the_document_are_answered_as_it_says(platform: Platform, request: pytest.FixtureRequest):
    examples = 100 if request.config.getoption("--full-size") else 2
    with platform.client() as client:
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    operations: list[Any] = [found.ok() for found in schema.get_all_operations()]  # pyright: ignore[reportAttributeAccessIssue] — an Err raises what it holds
    key = {"authorization": f"Bearer {platform.key}"}
    wrong: list[str] = []
    asked = itertools.count()

    def ask(case: Any) -> None:
        next(asked)
        if isinstance(case.body, dict) and case.operation.path.startswith(LONG):
            case.body["no_such_input"] = 1  # what is bad about it may be without effect
        response = case.call(base_url=platform.url, headers=key, timeout=30)
        if not _ends_at_the_edge(response):
            case.validate_response(response, checks=CHECKS)

    quiet = settings(max_examples=examples, phases=[Phase.generate], suppress_health_check=SLOW)
    for operation in operations:
        if not operation.path.endswith(ENDLESS):
            try:
                quiet(given(case=strategy_of(operation))(ask))()
            except Exception as failure:  # one operation must not keep the others from being asked
                wrong.append(f"{operation.label}: {failure!r} {failure}")
    assert wrong == []
    assert next(asked) > len(operations)
