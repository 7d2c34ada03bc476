"""A row of the performance table: what is known of a version on one target, in times and in money."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from services.catalog.domain.measurements import History, Measurement
from services.catalog.domain.models import PublishedFigure
from services.catalog.domain.reliability import Demands, Status, Verdict, failure_reasons, verdict
from services.catalog.domain.statistics import median_bounds, percentile, rate_bounds
from services.catalog.domain.targets import KnownTarget

MS_PER_HOUR = 3_600_000

PricePerHour = Mapping[tuple[str, str], float]
"""What a device costs for an hour in US dollars, by device and region."""


@dataclass(frozen=True)
class TargetRow:
    """What is known of a version on one target."""

    target: KnownTarget
    verdict: Verdict
    history: History | None
    now: datetime
    cost_per_gpu_hour_usd: float | None
    output_seconds: float | None
    """Length of the example's video."""

    @property
    def name(self) -> str:
        """The target as requests and messages write it."""
        return self.target.name

    @property
    def is_supported(self) -> bool:
        """Whether the version is verified on the target."""
        return self.verdict.status is Status.SUPPORTED

    @property
    def runs(self) -> tuple[Measurement, ...]:
        """Those that count for the model time, newest first."""
        return self.history.runs if self.history else ()

    @property
    def attempts(self) -> tuple[Measurement, ...]:
        """Those that count for the rate of success, newest first."""
        return self.history.attempts if self.history else ()

    @property
    def published(self) -> PublishedFigure | None:
        """What others published for the target; the first figure where there are several."""
        return self.target.published[0] if self.target.published else None

    @property
    def source(self) -> str:
        """Where the times come from: measured, simulated, published, or "" where there are none."""
        if self.runs:
            return "simulated" if self.target.spot.simulated else "measured"
        return "published" if self.time_ms is not None else ""

    @property
    def request_ms_p50(self) -> int | None:
        """Model time that half of the runs stay within."""
        return self.request_ms_percentile(50)

    def request_ms_percentile(self, percent: int) -> int | None:
        """Model time that so many in 100 runs stay within; None with too few runs to tell."""
        return percentile(self._model_times_ms, percent)

    @property
    def request_ms_p50_bounds(self) -> tuple[int, int] | None:
        """Bounds of the true median."""
        return median_bounds(self._model_times_ms)

    @property
    def request_ms(self) -> int | None:
        """Model time of the newest run; what was published where nothing was measured."""
        return next(iter(self._model_times_ms), self._published_ms)

    @property
    def time_ms(self) -> int | None:
        """The time that the target is compared and charged with."""
        return self._published_ms if self.request_ms_p50 is None else self.request_ms_p50

    @property
    def cold_start_count(self) -> int:
        """Starts that were measured."""
        return len(self.history.cold_starts_ms) if self.history else 0

    @property
    def cold_start_ms(self) -> int | None:
        """Time that half of the measured starts stayed within."""
        return percentile(self.history.cold_starts_ms, 50) if self.history else None

    @property
    def peak_allocated_bytes(self) -> float | None:
        """The most that any run had allocated."""
        peaks = (run.peak_allocated_bytes for run in self.runs)
        return max((peak for peak in peaks if peak is not None), default=None)

    @property
    def peak_reserved_bytes(self) -> float | None:
        """The most that any run had reserved."""
        peaks = (run.peak_reserved_bytes for run in self.runs)
        return max((peak for peak in peaks if peak is not None), default=None)

    @property
    def success_rate(self) -> float | None:
        """Share of the attempts that succeeded."""
        return self._successes / len(self.attempts) if self.attempts else None

    @property
    def success_rate_bounds(self) -> tuple[float, float] | None:
        """Bounds of the true rate."""
        return rate_bounds(self._successes, len(self.attempts))

    @property
    def failure_reasons(self) -> Mapping[str, int]:
        """How many attempts ended badly for which reason."""
        return failure_reasons(self.attempts)

    @property
    def last_measured_at(self) -> datetime | None:
        """When the newest attempt ended, of any age."""
        return self.history.newest_at if self.history else None

    @property
    def age_seconds(self) -> float | None:
        """Since then."""
        return None if self.last_measured_at is None else max(0.0, (self.now - self.last_measured_at).total_seconds())

    @property
    def software(self) -> Mapping[str, str]:
        """What the runs relied on."""
        return self.runs[0].software if self.runs else {}

    @property
    def warm_request_cost_usd(self) -> float | None:
        """Cost of the example on a warm runtime."""
        return self._cost_usd(self.time_ms)

    @property
    def first_cold_request_cost_usd(self) -> float | None:
        """Cost of the example with the start of the runtime before it. Both times have the same source."""
        published = self.published.cold_start_ms if self.published else None
        start = self.cold_start_ms if self.runs else published
        return None if self.time_ms is None or start is None else self._cost_usd(self.time_ms + start)

    @property
    def cost_per_output_second_usd(self) -> float | None:
        """Cost of the example on a warm runtime, for each second of its video."""
        cost = self.warm_request_cost_usd
        return None if cost is None or not self.output_seconds else cost / self.output_seconds

    @property
    def _model_times_ms(self) -> tuple[int, ...]:
        return tuple(run.model_ms for run in self.runs if run.model_ms is not None)

    @property
    def _published_ms(self) -> int | None:
        return self.published.model_ms if self.published else None

    @property
    def _successes(self) -> int:
        return sum(attempt.has_succeeded for attempt in self.attempts)

    def _cost_usd(self, time_ms: int | None) -> float | None:
        if time_ms is None or self.cost_per_gpu_hour_usd is None:
            return None
        return time_ms / MS_PER_HOUR * self.cost_per_gpu_hour_usd


def row_of(
    target: KnownTarget,
    history: History | None,
    *,
    is_fleet_known: bool,
    prices: PricePerHour,
    output_seconds: float | None,
    now: datetime,
    demands: Demands,
) -> TargetRow:
    """The row of a target."""
    is_offered = target.offer is not None if is_fleet_known else None
    simulated = target.spot.simulated
    return TargetRow(
        target,
        verdict(history, simulated=simulated, is_offered=is_offered, now=now, demands=demands),
        history,
        now,
        cost_per_gpu_hour_usd=prices.get((target.spot.gpu_type, target.spot.region)),
        output_seconds=output_seconds,
    )
