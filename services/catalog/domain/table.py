"""The performance table of a version: which rows lead it, and how the others compare."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from services.catalog.domain.reliability import Status
from services.catalog.domain.routes import Pin
from services.catalog.domain.rows import TargetRow
from services.chassis.errors import Violation
from services.chassis.known import UnknownTarget, did_you_mean


@dataclass(frozen=True)
class Table:
    """Rows, ordered by device and region."""

    slug: str
    model_version: str
    rows: tuple[TargetRow, ...]

    @property
    def supported(self) -> tuple[TargetRow, ...]:
        """Rows that are verified."""
        return tuple(row for row in self.rows if row.is_supported)

    @property
    def status(self) -> Status:
        """The best status among the rows; pending without any."""
        found = {row.verdict.status for row in self.rows}
        return next((status for status in Status if status in found), Status.PENDING)

    @property
    def status_counts(self) -> Mapping[str, int]:
        """Rows by status, statuses without any included."""
        counts = Counter(row.verdict.status for row in self.rows)
        return {status.value: counts[status] for status in Status}

    @property
    def failure_reasons(self) -> Mapping[str, int]:
        """How many attempts ended badly for which reason, over all rows."""
        total = Counter[str]()
        for row in self.rows:
            total.update(row.failure_reasons)
        return dict(total.most_common())

    @property
    def fastest(self) -> TargetRow | None:
        """The supported row with the lowest median model time."""
        return _least(self.supported, lambda row: row.request_ms_p50)

    @property
    def lowest_cost(self) -> TargetRow | None:
        """The supported row with the lowest cost of a warm request, whatever its device costs an hour."""
        return _least(self.supported, lambda row: row.warm_request_cost_usd)

    @property
    def lowest_cost_per_output_second(self) -> TargetRow | None:
        """The supported row with the lowest cost of a second of video."""
        return _least(self.supported, lambda row: row.cost_per_output_second_usd)

    def narrowed_to(self, pin: Pin) -> "Table":
        """The rows that a pin admits."""
        rows = tuple(row for row in self.rows if pin.admits_place(row.target.spot.gpu_type, row.target.spot.region))
        return Table(self.slug, self.model_version, rows)

    def baseline(self, name: str) -> TargetRow | None:
        """The row of this name; for "" the fastest supported one, or else the fastest with a time. UnknownTarget."""
        if not name:
            return self.fastest or _least(self.rows, lambda row: row.time_ms)
        for row in self.rows:
            if row.name == name:
                return row
        known = [row.name for row in self.rows]
        hint = did_you_mean(name, known)
        raise UnknownTarget([Violation("baseline", f"'{name}' is no row of this table{hint}")], known)


def relative_speed(row: TargetRow, baseline: TargetRow | None) -> float | None:
    """How fast a row is compared with the baseline: 0.5 takes twice as long. None where either has no time."""
    if baseline is None or baseline.time_ms is None or not row.time_ms:
        return None
    return baseline.time_ms / row.time_ms


def _least(rows: Iterable[TargetRow], of: Callable[[TargetRow], float | None]) -> TargetRow | None:
    """The first of the rows with the lowest value, among those that have one."""
    least: tuple[float, TargetRow] | None = None
    for row in rows:
        value = of(row)
        if value is not None and (least is None or value < least[0]):
            least = (value, row)
    return None if least is None else least[1]
