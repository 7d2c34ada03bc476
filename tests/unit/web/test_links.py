"""Signed links: what they hold, what opens them, and for how long they may be asked."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import InvalidInput, MalformedRequest
from services.chassis.secret_files import SecretFile
from services.web.adapters.signed_links import Link, SignedLinks
from services.web.links import ttl_seconds

LINK = Link("default", "rnd_1", datetime(2026, 11, 27, 12, tzinfo=UTC))
LINKS = SignedLinks("a secret")


def test_a_token_opens_what_it_was_made_for():
    assert LINKS.link(LINKS.token(LINK)) == LINK


@given(st.text())
def test_what_was_not_made_here_opens_nothing(token):
    assert LINKS.link(token) is None


@given(st.data())
def test_a_token_with_any_character_changed_opens_nothing_else(data):
    token = LINKS.token(LINK)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("AQgwabcXYZ019-_."))
    assert LINKS.link(token[:place] + other + token[place + 1 :]) in (None, LINK)


def test_installations_do_not_open_each_others_links():
    assert SignedLinks("another secret").link(LINKS.token(LINK)) is None


def test_replicas_and_restarts_share_the_secret_of_a_file_that_only_its_owner_reads(tmp_path):
    path = tmp_path / "secrets" / "link-secret"
    one, other = (SignedLinks.with_secret_in(SecretFile(path)) for _ in range(2))
    assert other.link(one.token(LINK)) == LINK
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("body", "seconds"),
    [(b"", 3600), (b"{}", 3600), (b'{"ttl_seconds": 60}', 60), (b'{"ttl_seconds": 604800}', 604_800)],
)
def test_a_link_opens_for_an_hour_or_as_long_as_was_asked(body, seconds):
    assert ttl_seconds(body) == seconds


@pytest.mark.parametrize(
    "body",
    [b'{"ttl_seconds": %s}' % value for value in (b"59", b"604801", b"-1", b"60.5", b'"60"', b"true", b"null", b"1e3")]
    + [b'{"ttl": 60}'],
)
def test_other_times_are_refused(body):
    with pytest.raises(InvalidInput):
        ttl_seconds(body)


@pytest.mark.parametrize("body", [b"{", b"[]", b"60", b"\xff", b"null"])
def test_what_is_no_object_is_refused(body):
    with pytest.raises(MalformedRequest):
        ttl_seconds(body)


async def test_a_link_that_has_expired_says_so_to_people_and_to_programs(browser):
    answer = await browser.open(f"/links/{LINKS.token(Link('default', 'rnd_1', datetime(2020, 1, 1, tzinfo=UTC)))}")
    assert (answer.status_code, "expired" in answer.text) == (410, True)
