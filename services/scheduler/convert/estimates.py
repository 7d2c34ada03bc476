"""What billing-estimate is asked, and what it tells of costs."""

from collections.abc import Mapping
from typing import Any

from forge.billing.v1 import estimate_pb2, metering_service_pb2

from services.chassis.wire import present
from services.scheduler.ports import Estimate, EstimatesByTarget

_PUBLISHED = "published"


def request_to_proto(
    slug: str, model_version: str, shape: Mapping[str, Any] | None
) -> metering_service_pb2.EstimateTargetsRequest:
    """The inputs to estimate; the version's example for None."""
    request = metering_service_pb2.EstimateTargetsRequest(slug=slug, model_version=model_version)
    if shape is not None:
        request.input.update(shape)
    return request


def by_target(response: metering_service_pb2.EstimateTargetsResponse) -> EstimatesByTarget:
    """The price of every target, and what is known of those that have a time."""
    found = {(p.gpu_type, p.region): Estimate(usd_per_hour=p.cost_per_gpu_hour_usd) for p in response.prices}
    found |= {(target.gpu_type, target.region): _unpriced(target) for target in response.unpriced}
    return found | {(target.gpu_type, target.region): _priced(target) for target in response.targets}


def _priced(target: estimate_pb2.TargetEstimate) -> Estimate:
    """What a request takes and costs on a target. A start that is unknown is left out of the cold cost."""
    warm_usd, cold_usd = (
        target.estimated_warm_request_cost_usd,
        present(target, "estimated_first_cold_request_cost_usd"),
    )
    return Estimate(
        **_times(target),
        warm_usd=warm_usd,
        cold_usd=warm_usd if cold_usd is None else cold_usd,
        usd_per_hour=target.cost_per_gpu_hour_usd,
    )


def _unpriced(target: estimate_pb2.TargetEstimate) -> Estimate:
    return Estimate(**_times(target))


def _times(target: estimate_pb2.TargetEstimate) -> dict[str, Any]:
    cold_start_ms = present(target, "cold_start_ms")
    return {
        "request_seconds": target.request_seconds_p50,
        "request_seconds_p90": target.request_seconds_p90,
        "rests_on_runs": target.basis != _PUBLISHED,
        "start_seconds": None if cold_start_ms is None else cold_start_ms / 1000,
    }
