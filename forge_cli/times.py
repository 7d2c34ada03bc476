"""Durations and moments, as people type them."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration(text: str) -> timedelta:
    """What "90s", "15m", "12h" or "30d" mean. ValueError for anything else, and for nothing."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    seconds = int(match[1]) * _UNIT_SECONDS[match[2]] if match else 0
    if not seconds:
        raise ValueError("write it as a whole number with a unit: 90s, 15m, 12h or 30d")
    return timedelta(seconds=seconds)


def moment(text: str, now: datetime) -> datetime:
    """The moment that an RFC 3339 time names, or a duration after `now`. ValueError for anything else."""
    try:
        return now + duration(text)
    except ValueError:
        pass
    except OverflowError:
        raise ValueError("that is too far away") from None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError(
            "write it as a time with its zone, such as 2030-01-31T18:00:00Z, or as what is left: 90s, 10m, 2h"
        )
    return found


def past_moment(text: str, now: datetime) -> datetime:
    """The moment that a time or a day in UTC names, or a duration before `now`. ValueError for anything else."""
    try:
        return now - duration(text)
    except ValueError:
        pass
    except OverflowError:
        raise ValueError("that is too long ago") from None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("write it as a time, such as 2030-01-31T18:00:00Z, or as how long ago: 90s, 12h, 2d") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class DurationType(click.ParamType[timedelta]):
    """A duration on the command line; "0s" is one only where that is said."""

    name = "duration"

    def __init__(self, *, may_be_nothing: bool = False) -> None:
        self._may_be_nothing = may_be_nothing

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The duration, or click's way of saying what is wrong."""
        if isinstance(value, timedelta):
            return value
        if self._may_be_nothing and value in ("0", "0s"):
            return timedelta(0)
        try:
            return duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class MomentType(click.ParamType[datetime]):
    """A moment on the command line; a duration counts from now."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment in UTC, or click's way of saying what is wrong."""
        if isinstance(value, datetime):
            return value
        try:
            return moment(value, datetime.now(UTC)).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            self.fail(str(error), param, ctx)


class PastMomentType(click.ParamType[datetime]):
    """A moment on the command line; a duration counts back from now."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment in UTC, or click's way of saying what is wrong."""
        if isinstance(value, datetime):
            return value
        try:
            return past_moment(value, datetime.now(UTC)).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            self.fail(str(error), param, ctx)


def day(text: str, today: date) -> date:
    """The day that "2030-01-31" names, or "7d" before `today`. ValueError for anything else."""
    try:
        return today - duration(text) if text.endswith("d") else date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError("write it as a day, such as 2030-01-31, or as days ago: 7d") from None


class DayType(click.ParamType[date]):
    """A day in UTC on the command line."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """The day, or click's way of saying what is wrong."""
        if isinstance(value, date):
            return value
        try:
            return day(value, datetime.now(UTC).date())
        except ValueError as error:
            self.fail(str(error), param, ctx)


def rfc_3339(when: datetime) -> str:
    """A moment as the API writes it."""
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")
