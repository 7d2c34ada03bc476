"""Rules of `forge audit`."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from forge_cli.times import past_moment

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)


def test_events_are_shown_as_a_table_with_what_is_not_known_left_open(run):
    shown = run("audit", "--limit", "2").stdout
    header, unknown, good = shown.splitlines()
    assert header.split()[:4] == ["WHEN", "METHOD", "ABOUT", "OUTCOME"]
    assert "CancelRender" in good
    assert "rnd_1" in good
    assert "0.01 s" in good
    assert "UNKNOWN" in unknown
    assert "–" in unknown


def test_as_many_events_are_listed_as_were_asked_for_from_as_many_pages_as_it_takes(run, platform):
    listed = json.loads(run("audit", "--json", "--limit", "120").stdout)
    assert [event["id"] for event in listed] == [f"aud_{number}" for number in range(120)]
    assert [(asked.page_size, asked.page_token) for asked in platform.asked] == [(100, ""), (20, "100")]
    assert len(json.loads(run("audit", "--json", "--limit", "1000").stdout)) == 150


def test_filters_are_asked_for_as_they_were_given(run, platform):
    day = ("--since", "2030-01-30", "--until", "2030-01-31T18:00:00+02:00")
    run("audit", "--key", "key_1", "--method", "CancelRender", "--resource", "rnd_1", *day)
    (asked,) = platform.asked[:1]
    assert (asked.api_key_id, asked.method, asked.resource) == ("key_1", "CancelRender", "rnd_1")
    assert asked.since.ToDatetime(UTC) == datetime(2030, 1, 30, tzinfo=UTC)
    assert asked.until.ToDatetime(UTC) == datetime(2030, 1, 31, 16, tzinfo=UTC)


def test_a_duration_counts_back_from_now():
    assert past_moment("2d", NOW) == NOW - timedelta(days=2)
    assert past_moment("90s", NOW) == NOW - timedelta(seconds=90)
    assert past_moment("2030-01-30T12:00:00Z", NOW) == NOW - timedelta(days=1)


@pytest.mark.parametrize("text", ["yesterday", "2x", "", "999999999d"])
def test_a_time_that_nobody_understands_is_refused_with_what_would_be_understood(run, text):
    refused = run("audit", "--since", text)
    assert refused.exit_code == 2
    assert "90s" in refused.output or "too long ago" in refused.output
