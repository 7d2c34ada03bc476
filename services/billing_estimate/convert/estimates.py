"""Prices and estimates on the wire."""

from collections.abc import Iterable

from forge.billing.v1 import billing_estimate_service_pb2, estimate_pb2, metering_service_pb2

from services.billing_estimate.convert.values import microdollars
from services.billing_estimate.domain.calibration import Calibration
from services.billing_estimate.domain.estimates import RunEstimate, TargetEstimate, TargetTimes
from services.billing_estimate.domain.prices import Price
from services.billing_estimate.domain.targets import Pin
from services.billing_estimate.ports import Inputs
from services.billing_estimate.usecases.estimator import PricedTargets
from services.chassis.wire import body, timestamp

_GIB = 1024**3
_LARGEST_INT32 = 2**31 - 1


def pin_from_proto(request: billing_estimate_service_pb2.GetRunEstimateRequest) -> Pin:
    """The target a request is pinned to."""
    return Pin(gpu_type=request.gpu_type or None, region=request.region or None)


def inputs_from_proto(request: metering_service_pb2.EstimateTargetsRequest) -> Inputs | None:
    """The inputs to estimate; None for the example's."""
    return body(request.input) if request.HasField("input") else None


def run_estimate_to_proto(estimate: RunEstimate) -> estimate_pb2.RunEstimate:
    """What a request would take and cost, per target."""
    return estimate_pb2.RunEstimate(
        slug=estimate.slug,
        model_version=estimate.version,
        gpu_type=estimate.pin.gpu_type,
        region=estimate.pin.region,
        estimated_warm_request_cost_usd=microdollars(estimate.selected.warm_request_cost_usd),
        estimated_first_cold_request_cost_usd=microdollars(estimate.selected.first_cold_request_cost_usd),
        selected_target=_target(estimate.selected),
        targets=[_target(each) for each in estimate.targets],
        fastest_target=_target(estimate.fastest),
        lowest_cost_target=_target(estimate.lowest_cost),
        output_seconds=estimate.output_seconds,
        warnings=estimate.warnings,
        explanation=estimate.explanation,
    )


def priced_targets_to_proto(priced: PricedTargets) -> metering_service_pb2.EstimateTargetsResponse:
    """What inputs take and cost everywhere."""
    return metering_service_pb2.EstimateTargetsResponse(
        targets=[_target(each) for each in priced.estimates.priced],
        unpriced=[_times(each) for each in priced.estimates.unpriced],
        prices=[_price(price) for price in priced.prices],
    )


def prices_to_proto(prices: Iterable[Price]) -> billing_estimate_service_pb2.ListPricesResponse:
    """The price book."""
    return billing_estimate_service_pb2.ListPricesResponse(prices=[_price(price) for price in prices])


def calibrations_to_proto(
    calibrations: tuple[Calibration, Iterable[Calibration]],
) -> billing_estimate_service_pb2.ListCalibrationsResponse:
    """How far estimates were off."""
    overall, each = calibrations
    return billing_estimate_service_pb2.ListCalibrationsResponse(
        overall=_calibration(overall), calibrations=[_calibration(calibration) for calibration in each]
    )


def _price(price: Price) -> estimate_pb2.Price:
    return estimate_pb2.Price(
        gpu_type=price.gpu_type,
        region=price.region,
        cost_per_gpu_hour_usd=price.cost_per_gpu_hour_usd,
        source=price.source,
        valid_from=timestamp(price.valid_from),
        valid_until=timestamp(price.valid_until),
    )


def _times(times: TargetTimes) -> estimate_pb2.TargetEstimate:
    """Everything but money."""
    known = times.forecast
    return estimate_pb2.TargetEstimate(
        gpu_type=times.target.gpu_type,
        region=times.target.region,
        request_ms=min(known.request_ms, _LARGEST_INT32),
        cold_start_ms=known.cold_start_ms,
        basis=known.basis,
        sample_count=known.sample_count,
        request_seconds_p50=round(known.seconds_p50, 3),
        request_seconds_p90=round(known.seconds_p90, 3),
        phase_seconds={phase: round(seconds, 3) for phase, seconds in known.phase_seconds.items()},
        extrapolation=None if known.extrapolation is None else round(known.extrapolation, 3),
        caveats=known.caveats,
        idle_tail_seconds=times.idle_tail_seconds,
        peak_allocated_gib=_gib(known.peak_allocated_bytes),
        peak_reserved_gib=_gib(known.peak_reserved_bytes),
        simulated=times.simulated,
        offered=times.offered,
        keeps_limits=True,
        calibration=None if times.calibration is None else _calibration(times.calibration),
    )


def _target(estimate: TargetEstimate) -> estimate_pb2.TargetEstimate:
    message = _times(estimate.times)
    message.MergeFrom(
        estimate_pb2.TargetEstimate(
            cost_per_gpu_hour_usd=estimate.cost_per_gpu_hour_usd,
            estimated_warm_request_cost_usd=microdollars(estimate.warm_request_cost_usd),
            estimated_first_cold_request_cost_usd=microdollars(estimate.first_cold_request_cost_usd),
            estimated_cost_per_output_second_usd=microdollars(estimate.cost_per_output_second_usd or 0.0),
            idle_tail_cost_usd=microdollars(estimate.idle_tail_cost_usd),
        )
    )
    message.keeps_limits = estimate.keeps_limits
    return message


def _calibration(calibration: Calibration) -> estimate_pb2.Calibration:
    return estimate_pb2.Calibration(
        slug=calibration.slug,
        model_version=calibration.version,
        gpu_type=calibration.target.gpu_type if calibration.target else "",
        region=calibration.target.region if calibration.target else "",
        sample_count=calibration.sample_count,
        median_absolute_error=calibration.median_absolute_error or 0.0,
        median_error=calibration.median_error or 0.0,
        share_within_p90=calibration.share_within_p90 or 0.0,
    )


def _gib(size_bytes: float | None) -> float | None:
    return None if size_bytes is None else round(size_bytes / _GIB, 3)
