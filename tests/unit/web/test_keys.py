"""The states of API keys, as their owners see them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.web.domain.keys import rows_of, state_of

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def a_key(**given: Any) -> dict[str, Any]:
    return {"id": "key_1", "created_at": "2026-11-01T00:00:00Z"} | given


@pytest.mark.parametrize(
    ("key", "state"),
    [
        (a_key(), "works"),
        (a_key(expires_at="2027-11-27T00:00:00Z"), "works"),
        (a_key(expires_at="2026-11-30T00:00:00Z"), "expires soon"),
        (a_key(expires_at="2026-11-27T12:00:00Z"), "expired"),
        (a_key(revoked_at="2026-11-02T00:00:00Z"), "revoked"),
        (a_key(revoked_at="2026-11-02T00:00:00Z", expires_at="2026-11-03T00:00:00Z"), "revoked"),
    ],
)
def test_a_key_is_in_one_state(key: dict[str, Any], state: str) -> None:
    assert state_of(key, NOW) == state


def test_a_key_that_takes_anothers_place_works_as_long_as_that_one_was_made_for() -> None:
    keys = [a_key(), a_key(expires_at="2026-12-01T00:00:00.500Z")]

    assert [row.ttl_seconds for row in rows_of(keys, NOW, "")] == [None, 30 * 86_400]


def test_the_key_of_the_session_is_marked() -> None:
    assert [row.is_own for row in rows_of([a_key(), a_key(id="key_2")], NOW, "key_2")] == [False, True]


def test_only_keys_that_open_something_work() -> None:
    keys = [a_key(), a_key(expires_at="2026-11-30T00:00:00Z"), a_key(revoked_at="2026-11-02T00:00:00Z")]

    assert [row.works for row in rows_of(keys, NOW, "")] == [True, True, False]
