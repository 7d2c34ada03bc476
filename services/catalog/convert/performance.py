"""The performance table, from nouns to messages."""

from forge.billing.v1 import billing_estimate_service_pb2
from forge.catalog.v1 import catalog_service_pb2, measurement_pb2

from services.catalog.convert.models import figure_to_proto
from services.catalog.domain.rows import PricePerHour, TargetRow
from services.catalog.domain.table import relative_speed
from services.catalog.usecases.performance import Comparison, Reliability
from services.chassis.wire import timestamp

BYTES_PER_GIB = 2**30


def prices_from_proto(response: billing_estimate_service_pb2.ListPricesResponse) -> PricePerHour:
    """What devices cost."""
    return {(price.gpu_type, price.region): price.cost_per_gpu_hour_usd for price in response.prices}


def reliability_to_proto(found: Reliability) -> catalog_service_pb2.Reliability:
    """How far a selection is verified."""
    table = found.table
    return catalog_service_pb2.Reliability(
        slug=table.slug,
        model_version=table.model_version,
        reliability_status=table.status.value,
        supported_rows=len(table.supported),
        total_rows=len(table.rows),
        filters=found.filters,
        status_counts=table.status_counts,
        failure_reason_counts=table.failure_reasons,
        fastest_supported_target=_row(table.fastest, found.baseline),
        lowest_cost_supported_target=_row(table.lowest_cost, found.baseline),
        targets=_rows(table.rows, found.baseline),
    )


def comparison_to_proto(found: Comparison) -> catalog_service_pb2.ListTargetsResponse:
    """The whole table."""
    table = found.table
    return catalog_service_pb2.ListTargetsResponse(
        slug=table.slug,
        model_version=table.model_version,
        targets=_rows(table.rows, found.baseline),
        baseline=found.baseline.name if found.baseline else "",
        supported_rows=len(table.supported),
        total_rows=len(table.rows),
        fastest_supported_target=_row(table.fastest, found.baseline),
        lowest_cost_supported_target=_row(table.lowest_cost, found.baseline),
        lowest_cost_per_output_second_supported_target=_row(table.lowest_cost_per_output_second, found.baseline),
    )


def _rows(rows: tuple[TargetRow, ...], baseline: TargetRow | None) -> list[measurement_pb2.TargetRow]:
    return [_row_to_proto(row, baseline) for row in rows]


def _row(row: TargetRow | None, baseline: TargetRow | None) -> measurement_pb2.TargetRow | None:
    return None if row is None else _row_to_proto(row, baseline)


def _row_to_proto(row: TargetRow, baseline: TargetRow | None) -> measurement_pb2.TargetRow:
    spot, offer = row.target.spot, row.target.offer
    low, high = row.request_ms_p50_bounds or (None, None)
    rate_low, rate_high = row.success_rate_bounds or (None, None)
    return measurement_pb2.TargetRow(
        gpu_type=spot.gpu_type,
        region=spot.region,
        simulated=spot.simulated,
        offered=offer is not None,
        free_slots=offer.free_slots if offer else None,
        status=row.verdict.status.value,
        explanation=row.verdict.explanation,
        source=row.source,
        sample_count=len(row.runs),
        request_ms_p50=row.request_ms_p50,
        request_ms_p95=row.request_ms_percentile(95),
        request_ms_p99=row.request_ms_percentile(99),
        request_ms=row.request_ms,
        request_ms_p50_low=low,
        request_ms_p50_high=high,
        cold_start_count=row.cold_start_count,
        cold_start_ms=row.cold_start_ms,
        peak_allocated_gib=_gib(row.peak_allocated_bytes),
        peak_reserved_gib=_gib(row.peak_reserved_bytes),
        attempt_count=len(row.attempts),
        observed_success_rate=row.success_rate,
        success_rate_low=rate_low,
        success_rate_high=rate_high,
        failure_reason_counts=row.failure_reasons,
        last_measured_at=timestamp(row.last_measured_at),
        age_seconds=row.age_seconds,
        software=row.software,
        cost_per_gpu_hour_usd=row.cost_per_gpu_hour_usd,
        estimated_warm_request_cost_usd=_microdollars(row.warm_request_cost_usd),
        estimated_first_cold_request_cost_usd=_microdollars(row.first_cold_request_cost_usd),
        estimated_cost_per_output_second_usd=_microdollars(row.cost_per_output_second_usd),
        relative_speed=relative_speed(row, baseline),
        is_baseline=baseline is not None and row.name == baseline.name,
        published=None if row.published is None else figure_to_proto(row.published),
    )


def _gib(size_bytes: float | None) -> float | None:
    return None if size_bytes is None else size_bytes / BYTES_PER_GIB


def _microdollars(usd: float | None) -> float | None:
    """An amount without the dust of binary fractions: exact to a millionth of a dollar."""
    return None if usd is None else round(usd, 6)
