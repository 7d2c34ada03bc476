"""What was measured: one attempt at a render on one target, and the history of a target that they make."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

SUCCEEDED = "succeeded"
OUTCOMES = (SUCCEEDED, "failed", "lost")
SOURCES = ("probe", "organic")


@dataclass(frozen=True)
class Measurement:
    """What one attempt took on one target. What was not measured is None."""

    id: str
    slug: str
    model_version: str
    gpu_type: str
    region: str
    simulated: bool
    source: str
    probe_id: str
    measured_at: datetime
    outcome: str
    reason: str
    """Name of the error; "" for one that succeeded."""
    failed_phase: str
    is_first_run: bool
    is_resumed: bool
    cold_start_ms: int | None
    model_ms: int | None
    run_ms: int | None
    phase_ms: Mapping[str, int]
    peak_allocated_bytes: float | None
    peak_reserved_bytes: float | None
    shape: Mapping[str, Any]
    """The inputs that work depends on, by name."""
    mode: str
    software: Mapping[str, str]

    @property
    def has_succeeded(self) -> bool:
        """Whether it made a video."""
        return self.outcome == SUCCEEDED

    @property
    def is_whole(self) -> bool:
        """Whether it did all the work of its request, and only that: its times say what such a request takes."""
        did_only_that = not self.is_first_run and not self.is_resumed
        return self.has_succeeded and did_only_that and self.model_ms is not None


@dataclass(frozen=True)
class Spot:
    """A device in a region, real or imitated: what measurements can be compared on."""

    gpu_type: str
    region: str
    simulated: bool


@dataclass(frozen=True)
class History:
    """What the ledger knows of a version on one spot. Measurements are the newest first."""

    spot: Spot
    newest_at: datetime
    """When the newest attempt ended, of any age."""
    attempts: tuple[Measurement, ...] = ()
    """The newest ones that are fresh, of any inputs."""
    runs: tuple[Measurement, ...] = ()
    """The newest fresh ones that count for the model time: whole runs of the example with the newest software."""
    cold_starts_ms: tuple[int, ...] = ()
    """Of the newest fresh attempts that started a runtime."""
    newest_run_at: datetime | None = None
    """When the newest whole run of the example ended, of any age and with any software."""
    most_runs: int = 0
    """Whole runs of the example with the software that has most of them, of any age."""
    most_other_runs: int = 0
    """As above, among other software than the newest."""


@dataclass(frozen=True)
class Samples:
    """What estimates of any input rest on, on one spot. All are the newest first."""

    spot: Spot
    runs: tuple[Measurement, ...]
    """Whole runs of any inputs with the newest software."""
    cold_starts_ms: tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """Where a page of measurements ended."""

    measured_at: datetime
    id: str
