"""The performance table as a page shows it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TableLine:
    """A row of the table: the contract's, and what follows from all of them."""

    row: Mapping[str, Any]
    key: str
    """The target as gpu_type@region, as the contract names a baseline."""
    chips: tuple[str, ...]
    """What it is best at among the verified ones: fastest, cheapest."""
    is_selected: bool


@dataclass(frozen=True)
class Readiness:
    """How many rows have which status."""

    supported: int
    total: int
    others: tuple[tuple[str, int], ...]
    """The other statuses that occur, with how often."""


def table_of(targets: Mapping[str, Any], gpu_type: str, region: str) -> list[TableLine]:
    """The rows of ListTargets with their chips; `gpu_type` and `region` are the selected target's, empty for any."""
    best = {
        "fastest": _key(targets.get("fastest_supported_target")),
        "cheapest": _key(targets.get("lowest_cost_supported_target")),
    }
    return [
        TableLine(
            row=row,
            key=_key(row),
            chips=tuple(chip for chip, key in best.items() if key == _key(row)),
            is_selected=bool(gpu_type or region)
            and gpu_type in ("", row["gpu_type"])
            and region in ("", row["region"]),
        )
        for row in targets.get("targets", [])
    ]


def readiness_of(rows: Iterable[Mapping[str, Any]]) -> Readiness:
    """How far a version is verified."""
    statuses = [row["status"] for row in rows]
    others = tuple(
        (status, statuses.count(status))
        for status in ("pending", "stale", "failed", "unavailable")
        if status in statuses
    )
    return Readiness(statuses.count("supported"), len(statuses), others)


def _key(row: Mapping[str, Any] | None) -> str:
    return f"{row['gpu_type']}@{row['region']}" if row else ""
