"""Use of an account by day, version and key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from services.chassis.errors import InvalidInput, Violation

USUAL_DAYS = timedelta(days=30)


@dataclass(frozen=True)
class Period:
    """Days in UTC, the last one included."""

    since: date
    until: date


@dataclass(frozen=True)
class UsageRow:
    """Use of one key, of one version, on one day in UTC."""

    day: date
    slug: str
    version: str
    api_key_id: str
    renders: int
    attempts: int
    gpu_us: int
    cost_micro_usd: int


@dataclass(frozen=True)
class Usage:
    """Use of an account, newest day first. A render with attempts on two days is one render of the whole."""

    period: Period
    rows: Sequence[UsageRow]
    renders: int

    @property
    def gpu_us(self) -> int:
        """Device time of all rows."""
        return sum(row.gpu_us for row in self.rows)

    @property
    def cost_micro_usd(self) -> int:
        """Cost of all rows, as far as prices were known."""
        return sum(row.cost_micro_usd for row in self.rows)


def period_of(since: str, until: str, now: datetime) -> Period:
    """The days a caller asks for; "" is today, or 30 days before the last day. InvalidInput."""
    violations: list[Violation] = []
    last = _day("until", until, now.date(), violations)
    first = _day("since", since, max(last, date.min + USUAL_DAYS) - USUAL_DAYS, violations)
    if not violations and first > last:
        violations.append(Violation("since", f"must not be after the last day, {last}"))
    if violations:
        raise InvalidInput(violations)
    return Period(first, last)


def _day(field: str, text: str, default: date, violations: list[Violation]) -> date:
    if not text:
        return default
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:  # the library reads other spellings too
        violations.append(Violation(field, "must be a day as in 2026-11-20"))
        return default
    return day
