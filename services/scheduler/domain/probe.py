"""Probes: which runs they are made of, and what becomes of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.chassis.errors import ForgeError, Kind
from services.scheduler.domain.fleet import Pin, Target
from services.scheduler.domain.render import Render, RenderStatus

PROBE_ACCOUNT = "forge-probes"
"""Whose the runs of probes are."""
MAX_RUNS = 100
DEFAULT_RUNS = 3


class ProbeStatus(StrEnum):
    """Where a probe is in its life. The words are the wire's."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


_MOVES: Mapping[ProbeStatus, frozenset[ProbeStatus]] = {
    ProbeStatus.QUEUED: frozenset({ProbeStatus.RUNNING, ProbeStatus.FAILED, ProbeStatus.CANCELED}),
    ProbeStatus.RUNNING: frozenset(
        {ProbeStatus.RUNNING, ProbeStatus.SUCCEEDED, ProbeStatus.FAILED, ProbeStatus.CANCELED}
    ),
    ProbeStatus.SUCCEEDED: frozenset(),
    ProbeStatus.FAILED: frozenset(),
    ProbeStatus.CANCELED: frozenset(),
}

UNDER_WAY = tuple(status for status, moves in _MOVES.items() if moves)


class Origin(StrEnum):
    """Why a probe was made. The words are the wire's."""

    ASKED = "asked"
    SCHEDULED = "scheduled"


class ProbeNotFound(ForgeError):
    """No such probe."""

    kind = Kind.NOT_FOUND
    reason = "PROBE_NOT_FOUND"

    def __init__(self, probe_id: str) -> None:
        super().__init__(f"there is no probe '{probe_id[:100]}'", resource=("probe", probe_id[:100]))


class IllegalProbeMove(ForgeError):
    """A probe was told to go where its status does not lead."""

    def __init__(self, source: ProbeStatus, to: ProbeStatus) -> None:
        super().__init__(f"a probe cannot go from {source} to {to}")


@dataclass(frozen=True)
class ProbeRun:
    """One render of a probe. `input` is what differs from the example; `tries` counts those that gave way, too."""

    input: Mapping[str, Any]
    counts: bool
    status: RenderStatus = RenderStatus.QUEUED
    cold_start_ms: int | None = None
    model_ms: int | None = None
    reason: str = ""
    tries: int = 1
    render_id: str = ""
    """The render of the present try; empty until there is one."""


@dataclass(frozen=True)
class Probe:
    """Measuring a version on a target. `example` is the body that its runs vary.

    `runtime_id` is the runtime that was started for it last; empty while there was none.
    """

    id: str
    slug: str
    model_version: str
    target: Target
    origin: Origin
    created_at: datetime
    example: Mapping[str, Any]
    runs: tuple[ProbeRun, ...]
    status: ProbeStatus = ProbeStatus.QUEUED
    message: str = ""
    reason: str = ""
    yields: int = 0
    runtime_id: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether something can still become of it."""
        return self.status in UNDER_WAY

    @property
    def pin(self) -> Pin:
        """Where its runs must go."""
        return Pin(self.target.gpu_type, self.target.region)

    @property
    def number(self) -> int:
        """Which run is next or under way, from 0."""
        return next((n for n, run in enumerate(self.runs) if run.status is not RenderStatus.SUCCEEDED), len(self.runs))

    @property
    def run(self) -> ProbeRun:
        """The run that is next or under way."""
        return self.runs[self.number]

    @property
    def request_id(self) -> str:
        """The idempotency key of the present try: whoever goes on with the probe makes no render twice."""
        return f"{self.id}:{self.number}:{self.run.tries}"

    @property
    def body(self) -> Mapping[str, Any]:
        """What the next run asks for."""
        return {
            **self.example,
            **self.run.input,
            "model": self.slug,
            "model_version": self.model_version,
            "gpu_type": self.target.gpu_type,
            "region": self.target.region,
        }

    def begun(self, render_id: str, now: datetime) -> "Probe":
        """The probe once the render of its next run exists."""
        moved = self._moved(ProbeStatus.RUNNING, started_at=self.started_at or now)
        return moved._with_run(render_id=render_id)

    def after(self, render: Render, now: datetime) -> "Probe":
        """The probe after the render of its run has ended."""
        if render.was_cold_start and render.attempts:
            return replace(self, runtime_id=render.attempts[-1].runtime_id)._after(render, now)
        return self._after(render, now)

    def failed(self, reason: str, message: str, now: datetime) -> "Probe":
        """The probe whose run cannot be done."""
        after = self._with_run(status=RenderStatus.FAILED, reason=reason)
        words = f"run {self.number + 1} of {len(self.runs)} failed: {message}"
        return after._moved(ProbeStatus.FAILED, reason=reason, message=words, ended_at=now)

    def canceled(self, now: datetime) -> "Probe":
        """The probe that was stopped on request."""
        after = self._with_run(status=RenderStatus.CANCELED) if self.run.render_id else self
        words = f"canceled after {self.number} of {len(self.runs)} runs"
        return after._moved(ProbeStatus.CANCELED, message=words, ended_at=now)

    def _after(self, render: Render, now: datetime) -> "Probe":
        if render.status is RenderStatus.SUCCEEDED:
            return self._with_measured(render, now)
        if render.status is RenderStatus.FAILED:
            error = render.error
            return self.failed(error.reason if error else "INTERNAL", error.message if error else "", now)
        after = replace(self, yields=self.yields + 1)
        return after._with_run(status=RenderStatus.QUEUED, render_id="", tries=self.run.tries + 1)

    def _with_measured(self, render: Render, now: datetime) -> "Probe":
        repeated = self.run.counts and _says_little(render)
        after = self._with_run(
            status=render.status,
            counts=self.run.counts and not repeated,
            cold_start_ms=render.timing.cold_start_ms if render.was_cold_start else None,
            model_ms=render.timing.model_ms,
        )
        if repeated:
            runs = list(after.runs)
            runs.insert(after.number, ProbeRun(self.run.input, counts=True))
            after = replace(after, runs=tuple(runs))
        if after.number < len(after.runs):
            return after
        return after._moved(ProbeStatus.SUCCEEDED, message=_outcome(after.runs), ended_at=now)

    def _with_run(self, **changes: Any) -> "Probe":
        runs = list(self.runs)
        runs[self.number] = replace(self.run, **changes)
        return replace(self, runs=tuple(runs))

    def _moved(self, to: ProbeStatus, **changes: Any) -> "Probe":
        if to not in _MOVES[self.status]:
            raise IllegalProbeMove(self.status, to)
        return replace(self, status=to, **changes)


def runs_of(probe_inputs: Sequence[Mapping[str, Any]], times: int) -> tuple[ProbeRun, ...]:
    """The runs of a probe: one that warms the runtime up, the example so many times, and each other input once."""
    first = probe_inputs[0] if probe_inputs else {}
    example = [ProbeRun({}, counts=True)] * times
    return (ProbeRun(first, counts=False), *example, *(ProbeRun(inputs, counts=False) for inputs in probe_inputs))


def _says_little(render: Render) -> bool:
    """Whether the model time is not that of the whole work on a runtime that has run before."""
    last = render.attempts[-1]
    return last.is_first_run or last.resumed_steps > 0


def _outcome(runs: Iterable[ProbeRun]) -> str:
    counted = [run for run in runs if run.counts]
    times = [run.model_ms / 1000 for run in counted if run.model_ms is not None]
    if not times:
        return f"the example ran {len(counted)} times"
    return f"the example ran {len(counted)} times; the model took {min(times):.1f} to {max(times):.1f} s"
