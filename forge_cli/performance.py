"""The performance table of a version, as people read it."""

from collections.abc import Sequence

from forge.catalog.v1.catalog_service_pb2 import ListTargetsResponse
from forge.catalog.v1.measurement_pb2 import TargetRow
from rich.console import Console
from rich.text import Text

from forge_cli import words
from forge_cli.tables import Column, show_columns

_PUBLISHED = "published"


def show_performance(console: Console, found: ListTargetsResponse, *, is_wide: bool) -> None:
    """Print the table, how many of its rows are verified, and why the others are not."""
    rows = found.targets
    if not rows:
        console.print(Text("no target is offered, measured or published"))
        return
    show_columns(console, _columns(found), is_wide=is_wide)
    compared = f"; 100 % is {' '.join(found.baseline.split('@'))}" if found.baseline else ""
    console.print(Text(verified(found) + compared), soft_wrap=True)
    unverified = [row for row in rows if row.status != "supported"]
    for status, why in dict.fromkeys((row.status, row.explanation) for row in unverified):
        alike = [name_of(row) for row in unverified if (row.status, row.explanation) == (status, why)]
        told = f"{', '.join(alike)} {'are' if len(alike) > 1 else 'is'} {status}"
        console.print(Text(f"{told}: {why}" if why else told), soft_wrap=True)
    for source in dict.fromkeys(row.published.source for row in rows if row.source == _PUBLISHED):
        names = ", ".join(name_of(row) for row in rows if row.source == _PUBLISHED and row.published.source == source)
        by = f" by {source}" if source else " by others"
        console.print(Text(f"published{by}, not measured here: {names}"), soft_wrap=True)


def verified(found: ListTargetsResponse) -> str:
    """How many rows are verified, and what the others are: "2 of 6 verified, 3 pending, 1 stale"."""
    statuses = [row.status for row in found.targets if row.status != "supported"]
    others = [f"{statuses.count(status)} {status}" for status in sorted(set(statuses))]
    return ", ".join([f"{found.supported_rows} of {found.total_rows} verified", *others])


def name_of(row: TargetRow) -> str:
    """A target: "H200 eu-north2"."""
    return f"{row.gpu_type} {row.region}".strip()


def _columns(found: ListTargetsResponse) -> list[Column]:
    rows = found.targets
    return [
        Column("TARGET", [name_of(row) + ("\n(simulated)" if row.simulated else "") for row in rows], is_number=False),
        Column("STATUS", ["\n".join([row.status, *_chips(row, found)]) for row in rows], is_number=False),
        Column("N", [str(row.sample_count) for row in rows]),
        Column("COLD START", [_cold_start(row) for row in rows], sparable=4),
        Column("MODEL TIME", [_model_time(row) for row in rows]),
        Column("P95,\nP99", [_tail(row) for row in rows], sparable=6),
        Column("PUBLISHED", [_published(row) for row in rows], sparable=9),
        Column("RELATIVE", [_relative(row) for row in rows], sparable=1),
        Column("VRAM", [_memory(row) for row in rows], sparable=5),
        Column("SUCCESS", [_success(row) for row in rows], sparable=3),
        Column("$/GPU-\nHOUR", _dollars(rows, "cost_per_gpu_hour_usd"), sparable=7),
        Column("$ PER\nREQUEST", _dollars(rows, "estimated_warm_request_cost_usd")),
        Column("$/OUTPUT\nS", _dollars(rows, "estimated_cost_per_output_second_usd"), sparable=8),
        Column("AGE", [words.age(words.known(row, "age_seconds")) for row in rows], sparable=2),
        Column("SOURCE", [row.source or words.NOT_KNOWN for row in rows], is_number=False),
    ]


def _chips(row: TargetRow, found: ListTargetsResponse) -> list[str]:
    if row.status != "supported":
        return []
    best = {"fastest": found.fastest_supported_target, "cheapest": found.lowest_cost_supported_target}
    return [chip for chip, one in best.items() if (one.gpu_type, one.region) == (row.gpu_type, row.region)]


def _model_time(row: TargetRow) -> str:
    """The median over its interval; what was taken once, or published, where there is no median."""
    if not row.HasField("request_ms_p50"):
        return words.measured_ms(row, "request_ms") + (f"\n{_PUBLISHED}" if row.source == _PUBLISHED else "")
    median = words.measured_ms(row, "request_ms_p50")
    if not row.HasField("request_ms_p50_low"):
        return median
    return f"{median}\n{words.seconds_range(row.request_ms_p50_low / 1000, row.request_ms_p50_high / 1000)}"


def _tail(row: TargetRow) -> str:
    if not row.HasField("request_ms_p95"):
        return words.NOT_KNOWN
    p99 = f"\n{words.measured_ms(row, 'request_ms_p99')}" if row.HasField("request_ms_p99") else ""
    return words.measured_ms(row, "request_ms_p95") + p99


def _cold_start(row: TargetRow) -> str:
    if not row.HasField("cold_start_ms") and row.source == _PUBLISHED and row.published.HasField("cold_start_ms"):
        return f"{words.measured_ms(row.published, 'cold_start_ms')}\n{_PUBLISHED}"
    return words.measured_ms(row, "cold_start_ms")


def _memory(row: TargetRow) -> str:
    if not row.HasField("peak_allocated_gib") and row.source == _PUBLISHED and row.published.HasField("vram_gb"):
        return f"{row.published.vram_gb:.1f} GB\n{_PUBLISHED}"
    return words.gib(words.known(row, "peak_allocated_gib"))


def _published(row: TargetRow) -> str:
    """What others published for a row that has a time of its own."""
    return "" if row.source == _PUBLISHED else words.measured_ms(row.published, "model_ms")


def _relative(row: TargetRow) -> str:
    if row.is_baseline:
        return "100 %"
    return words.NOT_KNOWN if not row.HasField("relative_speed") else words.difference(row.relative_speed - 1)


def _success(row: TargetRow) -> str:
    if not row.HasField("observed_success_rate"):
        return words.NOT_KNOWN
    rate = words.share(row.observed_success_rate)
    if not row.HasField("success_rate_low"):
        return rate
    return f"{rate}\n{row.success_rate_low * 100:.0f}–{words.share(row.success_rate_high)}"


def _dollars(rows: Sequence[TargetRow], field: str) -> list[str]:
    return [words.dollars(words.known(row, field)) for row in rows]
