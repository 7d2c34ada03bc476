"""Where the parts of a bar chart go: a bar a period, stacked by series, in a box of 100 by 100 that pages stretch."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_GAP = 0.22
"""How much of its room a bar leaves free."""
_TIMES = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))
_STEPS = (1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""Round tops of an axis; half of each is round too."""


@dataclass(frozen=True)
class Part:
    """A series' part of a bar. `y` is its upper edge; 0 is the top of the box."""

    series: int
    y: float
    height: float
    label: str


@dataclass(frozen=True)
class Bar:
    """What happened in one period. Those in which nothing did have no parts."""

    period: str
    x: float
    width: float
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Chart:
    """A chart: the bars, the names of its series in the order of their numbers, and what is written beside them."""

    bars: tuple[Bar, ...]
    series: tuple[str, ...]
    axis: tuple[str, ...]
    """From the top to 0."""
    named: tuple[str, ...]
    """Periods to name below."""


@dataclass(frozen=True)
class Unit:
    """What an axis counts in: so much of the measure, and how a number of it is written."""

    size: float
    label: Callable[[float], str]


def stacked(
    periods: Sequence[str], series: Mapping[str, Sequence[float]], label: Callable[[float], str], unit: Unit
) -> Chart:
    """A chart of series that have one value, 0 or more, a period. `label` writes a value, `unit` the axis."""
    sums = [sum(values[number] for values in series.values()) for number in range(len(periods))]
    top = round_up(max(sums, default=0.0) / unit.size) * unit.size
    room = 100 / max(1, len(periods))
    bars = []
    for number, period in enumerate(periods):
        parts, base = [], 100.0
        for index, (name, values) in enumerate(series.items()):
            height = 100 * values[number] / top
            if height > 0:
                base -= height
                said = f"{period} · {name} · {label(values[number])}"
                parts.append(Part(index, round(base, 3), round(height, 3), said))
        bars.append(Bar(period, round(number * room + room * _GAP / 2, 3), round(room * (1 - _GAP), 3), tuple(parts)))
    axis = (unit.label(top / unit.size), unit.label(top / 2 / unit.size), "0")
    return Chart(tuple(bars), tuple(series), axis, _named(periods))


def time_unit(series: Mapping[str, Sequence[float]]) -> Unit:
    """What an axis of seconds counts in: seconds, minutes or hours, by the longest value."""
    longest = max((value for values in series.values() for value in values), default=0.0)
    size, name = next((found for found in _TIMES if longest >= 2 * found[0]), _TIMES[-1])
    return Unit(size, lambda value: f"{value:g} {name}")


def round_up(value: float) -> float:
    """The round number at the top of an axis that reaches `value`; 1 where there is nothing to show."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _STEPS if value <= step * power * (1 + 1e-9))


def _named(periods: Sequence[str]) -> tuple[str, ...]:
    """The first, the middle and the last: what fits below a chart of any width."""
    if len(periods) < 3:
        return tuple(periods)
    return (periods[0], periods[(len(periods) - 1) // 2], periods[-1])
