"""The states of API keys, as their owners see them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.web.domain.keys import rows_of, state_of

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def a_key(**given: Any) -> dict[str, Any]:
    return {"id": "key_1", "prefix": "forge_local_ab12", "created_at": "2026-11-01T00:00:00Z"} | given


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


def test_a_rotated_key_names_its_successor_as_long_as_that_works() -> None:
    old, new = a_key(replaced_by="key_2"), a_key(id="key_2", prefix="forge_local_cd34", replaces="key_1")

    assert [row.successor_prefix for row in rows_of([new, old], NOW, "")] == ["", "forge_local_cd34"]
    revoked = new | {"revoked_at": "2026-11-02T00:00:00Z"}
    assert [row.successor_prefix for row in rows_of([revoked, old], NOW, "")] == ["", ""]


def test_a_key_shows_its_rate_limit_where_it_has_one_of_its_own() -> None:
    limited = a_key(rate_limit={"requests_per_second": 0.5, "burst": 1000})

    assert [row.rate_limit for row in rows_of([a_key(), limited], NOW, "")] == ["", "0.5 a second, 1,000 at once"]


def test_the_key_of_the_session_is_marked() -> None:
    assert [row.is_own for row in rows_of([a_key(), a_key(id="key_2")], NOW, "key_2")] == [False, True]


def test_only_keys_that_open_something_work() -> None:
    keys = [a_key(), a_key(expires_at="2026-11-30T00:00:00Z"), a_key(revoked_at="2026-11-02T00:00:00Z")]

    assert [row.works for row in rows_of(keys, NOW, "")] == [True, True, False]
