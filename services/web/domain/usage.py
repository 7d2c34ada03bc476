"""What an account used: rows of the contract added up exactly, by day, model and key."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

MICRO = 1_000_000
OTHERS = "others"
_MOST_SERIES = 5
_MOST_DAYS = 100


@dataclass(frozen=True)
class Amounts:
    """Sums in whole millionths: amounts that are added as floats do not add up to what others add them up to."""

    cost_micro_usd: int = 0
    gpu_us: int = 0
    attempts: int = 0

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(
            self.cost_micro_usd + other.cost_micro_usd, self.gpu_us + other.gpu_us, self.attempts + other.attempts
        )

    @property
    def cost_usd(self) -> float:
        """The cost in US dollars."""
        return self.cost_micro_usd / MICRO

    @property
    def gpu_seconds(self) -> float:
        """The device time."""
        return self.gpu_us / MICRO


@dataclass(frozen=True)
class Group:
    """What belongs to one name, and its share of the cost; of the device time where nothing cost anything."""

    name: str
    amounts: Amounts
    share: float


def amounts_of(rows: Iterable[Mapping[str, Any]]) -> Amounts:
    """The sum of rows."""
    return sum(
        (Amounts(round(row["cost_usd"] * MICRO), round(row["gpu_seconds"] * MICRO), row["attempts"]) for row in rows),
        Amounts(),
    )


def groups_of(rows: Sequence[Mapping[str, Any]], name_of: Callable[[Mapping[str, Any]], str]) -> list[Group]:
    """Rows added up by name, the dearest first."""
    named: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        named.setdefault(name_of(row), []).append(row)
    sums = {name: amounts_of(found) for name, found in named.items()}
    everything = amounts_of(rows)

    def share(amounts: Amounts) -> float:
        if everything.cost_micro_usd:
            return amounts.cost_micro_usd / everything.cost_micro_usd
        return amounts.gpu_us / everything.gpu_us if everything.gpu_us else 0.0

    ordered = sorted(sums, key=lambda name: (-sums[name].cost_micro_usd, -sums[name].gpu_us, name))
    return [Group(name, sums[name], share(sums[name])) for name in ordered]


@dataclass(frozen=True)
class Calendar:
    """The periods that a chart has bars for: days, or months where those would be too many to tell apart."""

    unit: str
    periods: tuple[str, ...]

    def period_of(self, day: str) -> str:
        """The period that a day belongs to."""
        return day if self.unit == "day" else day[:7]


def calendar_of(since: str, until: str, rows: Sequence[Mapping[str, Any]]) -> Calendar:
    """Every day from `since` to `until`, both included; of a long time the months from its first use to its last."""
    first, last = date.fromisoformat(since), date.fromisoformat(until)
    if (last - first).days < _MOST_DAYS:
        return Calendar("day", tuple((first + timedelta(n)).isoformat() for n in range((last - first).days + 1)))
    months = sorted({row["day"][:7] for row in rows}) or [last.isoformat()[:7]]
    begin, end = (int(month[:4]) * 12 + int(month[5:]) - 1 for month in (months[0], months[-1]))
    return Calendar("month", tuple(f"{n // 12:04d}-{n % 12 + 1:02d}" for n in range(begin, end + 1)))


def series_of(
    rows: Sequence[Mapping[str, Any]], calendar: Calendar, measure: Callable[[Amounts], float]
) -> dict[str, list[float]]:
    """A measure by model, dearest first, a value a period. Beyond the fifth model they are one series, `OTHERS`."""
    names = [group.name for group in groups_of(rows, lambda row: row["slug"])]
    shown = names if len(names) <= _MOST_SERIES + 1 else names[:_MOST_SERIES]
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {name: {} for name in shown}
    for row in rows:
        series = found.setdefault(row["slug"] if row["slug"] in shown else OTHERS, {})
        series.setdefault(calendar.period_of(row["day"]), []).append(row)
    return {
        name: [measure(amounts_of(by_period.get(period, ()))) for period in calendar.periods]
        for name, by_period in found.items()
    }
