"""A render's progress on the terminal: a live bar for people, single lines where nobody watches."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from forge.scheduler.v1.render_pb2 import RenderEvent
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskProgressColumn, TextColumn
from rich.text import Text

from forge_cli import words

_UNMEASURED_PHASES = frozenset({"queued", "starting"})
_TELLING_STATUSES = frozenset({"paused", "canceling", "canceled", "failed", "expired"})
_LINE_EVERY_FRACTION = 0.1


class ProgressView(Protocol):
    """Something that shows the events of one render, oldest first."""

    def show(self, event: RenderEvent, *, resumed_steps: int = 0) -> None:
        """Show the newest event, of an attempt that was spared `resumed_steps` by a checkpoint."""
        ...


@contextmanager
def progress_view(title: str, console: Console) -> Iterator[ProgressView]:
    """A view of one render: a bar on a terminal, otherwise a line for each phase and about every tenth of the work."""
    if not console.is_terminal:
        yield LineView(title, console)
        return
    with live_bar(console) as progress:
        yield BarView(title, progress)


def live_bar(console: Console) -> Progress:
    """The bar: what, how far, which step, how long it takes."""
    return Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        TaskProgressColumn(show_speed=False),
        TextColumn("{task.fields[detail]}", markup=False),
        _TimeColumn(),
        console=console,
        transient=True,
    )


class BarView:
    """Shows events as one live bar."""

    def __init__(self, title: str, progress: Progress, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._title = title
        self._progress = progress
        self._monotonic = monotonic
        self._task = progress.add_task(f"{title}  queued", total=None, detail="", times=None)
        self._first_at: float | None = None

    def show(self, event: RenderEvent, *, resumed_steps: int = 0) -> None:
        """Show the newest event."""
        at = seconds_at(event)
        self._first_at = at if self._first_at is None else self._first_at
        waiting = event.phase in _UNMEASURED_PHASES
        details = (detail_of(event), playable_text(event), attempt_text(event, resumed_steps))
        self._progress.update(
            self._task,
            description=f"{self._title}  {phase_of(event)}",
            total=None if waiting else 1.0,
            completed=0.0 if waiting else event.progress.fraction,
            detail="  ".join(part for part in details if part),
            times=_Times(at - self._first_at, _etas_of(event), self._monotonic),
        )


class JsonLines:
    """Passes every event on to a program, as the REST API streams it."""

    def show(self, event: RenderEvent, *, resumed_steps: int = 0) -> None:
        """Print the newest event as a line of JSON."""
        words.show_json_line(event)


class LineView:
    """Shows events as lines, and only those that say something new."""

    def __init__(self, title: str, console: Console) -> None:
        self._title = title
        self._console = console
        self._first_at: float | None = None
        self._shown: tuple[str, int, int, bool, int] | None = None

    def show(self, event: RenderEvent, *, resumed_steps: int = 0) -> None:
        """Print a line when there is something new.

        That is another phase, attempt, tenth of the work or power of two of the place in the queue, or that the first
        frames can be played.
        """
        at = seconds_at(event)
        self._first_at = at if self._first_at is None else self._first_at
        tenths = int(event.progress.fraction / _LINE_EVERY_FRACTION + 1e-9)
        place = event.progress.queue_position.bit_length()  # fewer lines while there is long to go
        mark = (phase_of(event), place, tenths, playable_of(event) is not None, event.attempt)
        if mark == self._shown:
            return
        self._shown = mark
        parts = [f"{at - self._first_at:7.1f} s  {self._title}  {phase_of(event)}", detail_of(event)]
        if event.phase not in _UNMEASURED_PHASES:
            parts.append(f"{event.progress.fraction:.0%}")
        if _etas_of(event):
            parts.append(f"ETA {words.eta(event.progress)}")
        parts += [playable_text(event), attempt_text(event, resumed_steps)]
        self._console.print(Text("  ".join(part for part in parts if part)), soft_wrap=True)


def phase_of(event: RenderEvent) -> str:
    """The phase, or the status where the phase does not tell how it ends."""
    return event.status if event.status in _TELLING_STATUSES else event.phase


def detail_of(event: RenderEvent) -> str:
    """What there is to know beside the phase: the place in the queue, what a start does, or which step is done."""
    progress = event.progress
    if event.status == "paused":
        return f"after step {progress.done_steps} of {progress.total_steps}" if progress.total_steps else event.message
    if event.phase == "queued":
        return f"place {progress.queue_position} in the queue" if progress.HasField("queue_position") else event.message
    if event.phase == "denoising" and progress.total_steps:
        return f"step {progress.done_steps} of {progress.total_steps}"
    return event.message if event.phase == "starting" or event.status == "failed" else ""


def playable_of(event: RenderEvent) -> float | None:
    """Seconds of the video that can be played while the rest is being made; None when there are none."""
    told = event.status == "running" and event.progress.HasField("playable_seconds")
    return event.progress.playable_seconds if told else None


def playable_text(event: RenderEvent) -> str:
    """The same in words; nothing when there are none."""
    playable = playable_of(event)
    return "" if playable is None else f"{words.seconds(playable)} can be played"


def attempt_text(event: RenderEvent, resumed_steps: int) -> str:
    """Which try this is, and where it began; nothing for the first one."""
    if event.attempt <= 1:
        return ""
    return f"attempt {event.attempt}" + (f", resumed after step {resumed_steps}" if resumed_steps else "")


def _etas_of(event: RenderEvent) -> tuple[float, ...]:
    """Seconds left, in half of the cases and in nine of ten where both are known; none when nothing is left."""
    progress = event.progress
    if event.status not in ("queued", "running") or not progress.HasField("eta_seconds_p50"):
        return ()
    if not progress.HasField("eta_seconds_p90") or progress.eta_seconds_p90 <= progress.eta_seconds_p50:
        return (progress.eta_seconds_p50,)
    return (progress.eta_seconds_p50, progress.eta_seconds_p90)


def seconds_at(event: RenderEvent) -> float:
    """When the event happened, in seconds since the epoch, by the server's clock."""
    return event.at.seconds + event.at.nanos / 1e9


class _Times:
    """How long a render has taken and will take, going on between two events by this machine's clock."""

    def __init__(self, elapsed: float, etas: tuple[float, ...], monotonic: Callable[[], float]) -> None:
        self._elapsed, self._etas, self._monotonic = elapsed, etas, monotonic
        self._since = monotonic()

    def text(self) -> str:
        passed = self._monotonic() - self._since
        etas = "–".join(dict.fromkeys(_clock(max(0.0, eta - passed)) for eta in self._etas))
        return _clock(self._elapsed + passed) + (f"  ETA {etas}" if etas else "")


class _TimeColumn(ProgressColumn):
    """Elapsed time and ETA."""

    def render(self, task: Task) -> Text:
        times = task.fields.get("times")
        return Text(times.text() if times else "", style="progress.elapsed")


def _clock(value: float) -> str:
    whole = int(value)
    return (
        f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
        if whole >= 3600
        else f"{whole // 60}:{whole % 60:02d}"
    )
