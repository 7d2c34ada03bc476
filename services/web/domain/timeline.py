"""A render over time: a chart of what it did when, one lane per attempt. Places are percent of its width."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil
from typing import Any

from services.web.domain.words import seconds, when

PHASES: Mapping[str, str] = {
    "queued": "queue",
    "starting": "cold start",
    "encoding": "encode",
    "denoising": "denoise",
    "decoding": "decode",
    "muxing": "mux",
    "storing": "store",
    "paused": "pause",
}
"""Everything a render spends time in, in the order it comes, with its name on a chart."""

IDLE = frozenset({"queued", "paused"})
"""What holds no device."""

_LEAST_WIDTH = 0.4
_MOST_TICKS = 6
_LEAST_BETWEEN_TICKS = 12.0
_STEPS = (1, 2, 5, 10)
_MINUTES = (60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
_IDLE_TO_BUSY = 0.6


@dataclass(frozen=True)
class Stretch:
    """A time a render spent in one phase of one attempt; `attempt` is 0 while it waits for its first."""

    attempt: int
    phase: str
    begins: datetime
    ends: datetime
    goes_on: bool = False
    """Whether it has not ended yet."""

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        return max(0.0, (self.ends - self.begins).total_seconds())


@dataclass(frozen=True)
class Bar:
    """A stretch as it is drawn."""

    phase: str
    name: str
    x: float
    width: float
    offset_seconds: float
    seconds: float
    is_cut: bool
    """Whether the bar is shorter than its time: long waits would leave no room for the work."""
    goes_on: bool


@dataclass(frozen=True)
class Mark:
    """Something that happened at one moment: went on from a checkpoint, lost its worker, paused, ended."""

    kind: str
    x: float
    offset_seconds: float
    text: str


@dataclass(frozen=True)
class Lane:
    """An attempt, with the wait before it and the pause after it."""

    attempt: int
    target: Mapping[str, Any] | None
    outcome: str
    message: str
    resumed_steps: int
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Tick:
    """A time that the axis names."""

    x: float
    text: str


@dataclass(frozen=True)
class Timeline:
    """The chart."""

    lanes: tuple[Lane, ...]
    ticks: tuple[Tick, ...]
    seconds: float
    goes_on: bool

    @property
    def phases(self) -> tuple[tuple[str, str], ...]:
        """The phases that occur, with their names, in the order of work."""
        found = {bar.phase for lane in self.lanes for bar in lane.bars}
        return tuple((phase, name) for phase, name in PHASES.items() if phase in found)

    @property
    def has_cuts(self) -> bool:
        """Whether some wait is drawn shorter than it was."""
        return any(bar.is_cut for lane in self.lanes for bar in lane.bars)


def timeline_of(render: Mapping[str, Any], events: Sequence[Mapping[str, Any]], now: datetime) -> Timeline:
    """The chart of a render. `events` is its log; without it phases follow from the attempts' device times."""
    stretches = from_log(render, events, now) if events else from_attempts(render, now)
    if not stretches:
        return Timeline((), (), 0.0, goes_on=False)
    axis = _Axis(stretches)
    attempts = {attempt["attempt"]: attempt for attempt in render.get("attempts", ())}
    numbers = sorted({max(1, stretch.attempt) for stretch in stretches} | attempts.keys())
    lanes = tuple(_lane(number, attempts.get(number), stretches, axis) for number in numbers)
    return Timeline(
        lanes,
        tuple(axis.ticks()),
        (stretches[-1].ends - stretches[0].begins).total_seconds(),
        goes_on=stretches[-1].goes_on,
    )


def from_log(render: Mapping[str, Any], events: Sequence[Mapping[str, Any]], now: datetime) -> list[Stretch]:
    """Stretches between the events at which phase, attempt or standing change, without gaps."""
    moments = [(_at(event["at"]), _attempt_of(event), _doing(event)) for event in events]
    begin = min(_at(render["created_at"]), moments[0][0])
    turns = [(begin, *moments[0][1:])]
    for moment in moments[1:]:
        if moment[1:] != turns[-1][1:]:
            turns.append((max(moment[0], turns[-1][0]), *moment[1:]))
    found = [
        Stretch(attempt, doing, begins, ends)
        for (begins, attempt, doing), (ends, _, _) in pairwise(turns)
        if doing != "done"
    ]
    begins, attempt, doing = turns[-1]
    if doing != "done":
        found.append(Stretch(attempt, doing, begins, max(begins, now), goes_on=True))
    return found


def from_attempts(render: Mapping[str, Any], now: datetime) -> list[Stretch]:
    """Stretches as attempts record them: phases one after the other as long as they held the device."""
    found: list[Stretch] = []
    free_since = _at(render["created_at"])
    outcome = ""
    for attempt in render.get("attempts", ()):
        number, begins = attempt["attempt"], max(free_since, _at(attempt["started_at"]))
        ends = when(attempt.get("ended_at"))
        waited = "paused" if outcome == "paused" else "queued"
        found.append(Stretch(number - 1 if waited == "paused" else number, waited, free_since, begins))
        found.extend(_phases_of(attempt, begins, ends))
        free_since, outcome = ends or max(begins, now), attempt["outcome"]
    status = render["status"]
    if status in IDLE:
        number = len(render.get("attempts", ()))
        found.append(
            Stretch(
                number if status == "paused" else number + 1, status, free_since, max(free_since, now), goes_on=True
            )
        )
    elif not found and (ended := when(render.get("ended_at"))):
        found.append(Stretch(1, "queued", free_since, ended))
    elif found and status in ("running", "canceling"):
        last = found[-1]
        found[-1] = replace(last, ends=max(last.ends, now), goes_on=True)
    return found


def _phases_of(attempt: Mapping[str, Any], begins: datetime, ends: datetime | None) -> list[Stretch]:
    held: Mapping[str, float] = attempt.get("phase_gpu_seconds", {})
    found: list[Stretch] = []
    at = begins
    for phase in PHASES:
        if phase in held:
            done = at + timedelta(seconds=held[phase])
            done = done if ends is None else min(done, ends)
            found.append(Stretch(attempt["attempt"], phase, at, done))
            at = done
    return found


def _doing(event: Mapping[str, Any]) -> str:
    """The phase to draw after an event; "done" when nothing follows."""
    if event["status"] == "paused":
        return "paused"
    return "done" if event["status"] in ("succeeded", "failed", "canceled", "expired") else event["phase"]


def _attempt_of(event: Mapping[str, Any]) -> int:
    """The lane of an event: who waits in the queue waits for the next attempt."""
    return event["attempt"] + 1 if event["status"] == "queued" else event["attempt"]


class _Axis:
    """From times to places. Work is drawn to scale; a wait much longer than all work is drawn shorter than it was."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        busy_seconds = sum(stretch.seconds for stretch in stretches if stretch.phase not in IDLE)
        most = busy_seconds * _IDLE_TO_BUSY if busy_seconds else float("inf")
        self._origin = stretches[0].begins
        self._cut: set[Stretch] = set()
        self._pieces: list[tuple[float, float, float, float]] = []  # time from, to; drawn from, to
        drawn = 0.0
        for stretch in stretches:
            begin = self.offset(stretch.begins)
            length = stretch.seconds
            if stretch.phase in IDLE and length > most:
                self._cut.add(stretch)
                length = most
            self._pieces.append((begin, begin + stretch.seconds, drawn, drawn + length))
            drawn += length
        self._drawn = drawn or 1.0

    def offset(self, at: datetime) -> float:
        """Seconds since the render was accepted."""
        return max(0.0, (at - self._origin).total_seconds())

    def is_cut(self, stretch: Stretch) -> bool:
        """Whether a stretch is drawn shorter than it was."""
        return stretch in self._cut

    def place(self, offset_seconds: float) -> float:
        """Where a time is, in percent of the width."""
        for begin, end, drawn_from, drawn_to in self._pieces:
            if offset_seconds <= end:
                share = (offset_seconds - begin) / (end - begin) if end > begin else 1.0
                return round(100 * (drawn_from + min(1.0, max(0.0, share)) * (drawn_to - drawn_from)) / self._drawn, 3)
        return 100.0

    def ticks(self) -> Iterable[Tick]:
        """Round times of what is drawn to scale, the first one at the beginning."""
        step = _step(self._drawn)
        last_place, last_text = -100.0, ""
        for begin, end, drawn_from, drawn_to in self._pieces:
            if drawn_to - drawn_from < end - begin:
                continue
            for number in range(ceil(begin / step), int(end / step) + 1):
                place, text = self.place(number * step), _tick_text(number * step)
                if (
                    place - last_place >= _LEAST_BETWEEN_TICKS
                    and place <= 100 - _LEAST_BETWEEN_TICKS / 2
                    and text != last_text
                ):
                    last_place, last_text = place, text
                    yield Tick(place, text)


def _tick_text(offset_seconds: float) -> str:
    return seconds(offset_seconds) if offset_seconds >= 100 else f"{round(offset_seconds, 3):g} s"


def _step(seconds: float) -> float:
    """A round time, of which at most some fit into `seconds`."""
    least = seconds / _MOST_TICKS
    if least > _STEPS[-1] * 3:
        return next((step for step in _MINUTES if step >= least), _MINUTES[-1])
    power = 0.001
    while True:
        for step in _STEPS:
            if step * power >= least:
                return step * power
        power *= 10


def _lane(number: int, attempt: Mapping[str, Any] | None, stretches: Sequence[Stretch], axis: _Axis) -> Lane:
    own = [stretch for stretch in stretches if max(1, stretch.attempt) == number]
    bars = tuple(_bar(stretch, axis) for stretch in own if stretch.seconds > 0 or stretch.goes_on)
    if attempt is None:
        return Lane(number, None, "", "", 0, bars, ())
    return Lane(
        number,
        attempt.get("target"),
        attempt["outcome"],
        attempt.get("message", ""),
        attempt.get("resumed_steps", 0),
        bars,
        tuple(_marks(attempt, own, axis)),
    )


def _bar(stretch: Stretch, axis: _Axis) -> Bar:
    begin, end = axis.offset(stretch.begins), axis.offset(stretch.ends)
    x = axis.place(begin)
    width = max(_LEAST_WIDTH, axis.place(end) - x)
    return Bar(
        stretch.phase,
        PHASES.get(stretch.phase, stretch.phase),
        round(min(x, 100 - width), 3),
        round(width, 3),
        begin,
        stretch.seconds,
        axis.is_cut(stretch),
        stretch.goes_on,
    )


def _marks(attempt: Mapping[str, Any], own: Sequence[Stretch], axis: _Axis) -> Iterable[Mark]:
    """What an attempt is marked with; one that ended well or still runs has no mark at its end."""
    if steps := attempt.get("resumed_steps", 0):
        first = next((stretch.begins for stretch in own if stretch.phase == "denoising"), _at(attempt["started_at"]))
        at = axis.offset(first)
        yield Mark("resumed", axis.place(at), at, f"went on from step {steps} of a checkpoint")
    ended = when(attempt.get("ended_at"))
    outcome = attempt["outcome"]
    if ended and outcome not in ("succeeded", "running"):
        at = axis.offset(ended)
        yield Mark(outcome, axis.place(at), at, attempt.get("message") or outcome)


def _at(stamp: str) -> datetime:
    found = when(stamp)
    if found is None:
        raise ValueError(f"no time: {stamp!r}")
    return found
