"""Rules of durations and moments as people type them."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from forge_cli.times import day, duration, moment, rfc_3339

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000)])
def test_a_duration_is_a_number_with_its_unit(text, seconds):
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "10", "m", "0s", "1.5h", "-5m", "10 m", "1h30m", "10M"])
def test_anything_else_is_no_duration(text):
    with pytest.raises(ValueError, match="a whole number with a unit"):
        duration(text)


def test_a_duration_names_the_moment_when_it_is_over():
    assert moment("10m", NOW) == NOW + timedelta(minutes=10)


@pytest.mark.parametrize("text", ["2030-01-31T18:00:00Z", "2030-01-31T19:00:00+01:00", "2030-01-31 18:00:00.0Z"])
def test_a_time_with_its_zone_names_its_moment(text):
    assert moment(text, NOW) == datetime(2030, 1, 31, 18, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2030-01-31T18:00:00", "2030-01-31", "18:00", "tomorrow", "10x"])
def test_a_time_without_its_zone_is_refused_with_how_to_write_it(text):
    with pytest.raises(ValueError, match="2030-01-31T18:00:00Z"):
        moment(text, NOW)


def test_a_moment_beyond_every_calendar_is_refused():
    with pytest.raises(ValueError, match="too far away"):
        moment("999999999d", NOW)


def test_the_api_reads_times_in_utc():
    assert rfc_3339(datetime(2030, 1, 31, 19, tzinfo=timezone(timedelta(hours=1)))) == "2030-01-31T18:00:00Z"


@pytest.mark.parametrize(("text", "found"), [("2030-01-30", date(2030, 1, 30)), ("30d", date(2030, 1, 1))])
def test_a_day_is_named_or_counted_back(text, found):
    assert day(text, NOW.date()) == found


@pytest.mark.parametrize("text", ["", "yesterday", "12h", "0d", "2030-02-30", "999999999d"])
def test_anything_else_is_no_day(text):
    with pytest.raises(ValueError, match="as days ago: 7d"):
        day(text, NOW.date())
