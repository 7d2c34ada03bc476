"""The rules of API keys."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.accounts.domain import ApiKey, checksum, is_token, is_well_formed, new_secret, shown_prefix, violations_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "forge_local_" + "a" * 32 + checksum("forge_local_" + "a" * 32)


def test_a_new_secret_says_where_it_belongs_and_is_well_formed():
    secret = new_secret("staging1")
    assert re.fullmatch(r"forge_staging1_[0-9A-Za-z]{38}", secret)
    assert is_well_formed(secret)


def test_no_secret_is_made_twice():
    assert len({new_secret("local") for _ in range(1000)}) == 1000


@given(position=st.integers(0, len(SECRET) - 1), character=st.characters(codec="utf-8"))
def test_a_secret_with_one_wrong_character_is_never_well_formed(position, character):
    changed = SECRET[:position] + character + SECRET[position + 1 :]
    assert is_well_formed(changed) is (changed == SECRET)


@given(st.text())
def test_other_text_is_never_well_formed(text):
    assert not is_well_formed(text)
    assert not is_well_formed(SECRET + text) or not text


def test_the_shown_prefix_gives_nearly_nothing_away():
    assert shown_prefix(SECRET) == "forge_local_aaaaaa"
    assert shown_prefix("a_secret_of_somebodys_choice_with_lines") == "a_secr"


@pytest.mark.parametrize(
    ("secret", "is_one"),
    [
        ("0" * 32, True),
        ("a" * 510 + "==", True),
        ("0" * 31, False),
        ("0" * 513, False),
        ("0" * 31 + " 0", False),
        ("é" * 32, False),
    ],
)
def test_a_token_is_long_and_fit_for_a_header(secret, is_one):
    assert is_token(secret) is is_one


@pytest.mark.parametrize(
    ("changes", "works"),
    [
        ({}, True),
        ({"expires_at": NOW + timedelta(seconds=1)}, True),
        ({"expires_at": NOW}, False),
        ({"revoked_at": NOW - timedelta(days=1)}, False),
        ({"revoked_at": NOW, "expires_at": NOW + timedelta(days=1)}, False),
    ],
)
def test_a_key_works_until_it_expires_or_is_revoked(changes, works):
    key = ApiKey("key_1", "default", "a key", "forge_local_", frozenset({"read"}), NOW - timedelta(days=2), **changes)
    assert key.works_at(NOW) is works


@pytest.mark.parametrize(
    ("name", "scopes", "ttl", "fields"),
    [
        ("n", [], None, []),
        ("n" * 100, ["read", "inference", "admin"], timedelta(seconds=60), []),
        ("", [], None, ["name"]),
        ("n" * 101, ["root", "read", "READ"], timedelta(seconds=59), ["name", "scopes[0]", "scopes[2]", "ttl"]),
        ("n", [""], timedelta(days=36_501), ["scopes[0]", "ttl"]),
        ("n", [], timedelta(seconds=-1), ["ttl"]),
    ],
)
def test_everything_wrong_with_a_request_is_found_at_once(name, scopes, ttl, fields):
    assert [violation.field for violation in violations_of(name, scopes, ttl)] == fields
