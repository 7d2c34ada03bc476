"""What billing-estimate tells of costs."""

from forge.billing.v1 import estimate_pb2

from services.scheduler.convert.values import present
from services.scheduler.ports import Estimate


def estimate(target: estimate_pb2.TargetEstimate) -> Estimate:
    """What a request takes and costs on a target. A start that is unknown is left out of the cold cost."""
    cold_start_ms = present(target, "cold_start_ms")
    return Estimate(
        request_seconds=target.request_ms / 1000,
        start_seconds=None if cold_start_ms is None else cold_start_ms / 1000,
        warm_usd=target.estimated_warm_request_cost_usd,
        cold_usd=target.estimated_first_cold_request_cost_usd or target.estimated_warm_request_cost_usd,
        usd_per_hour=target.cost_per_gpu_hour_usd,
    )
