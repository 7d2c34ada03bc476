"""Estimates over gRPC. A render never waits for them: without an answer the cost is unknown."""

import structlog
from forge.billing.v1 import billing_estimate_service_pb2 as pb
from forge.billing.v1 import billing_estimate_service_pb2_grpc as rpc
from grpc import aio

from services.chassis.clock import Clock
from services.chassis.errors import ForgeError, Kind
from services.chassis.status import errors_of
from services.scheduler.ports import Costs

log = structlog.get_logger()

FRESH_SECONDS = 60.0
RETRY_SECONDS = 5.0
TIMEOUT_SECONDS = 1.0


class GrpcEstimates:
    """Reads estimates from the billing-estimate service, remembered for a minute."""

    def __init__(self, channel: aio.Channel, clock: Clock) -> None:
        self._stub = rpc.BillingEstimateServiceStub(channel)
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, Costs]] = {}

    async def request_cost_usd(self, slug: str, model_version: str) -> Costs:
        """What is known of the costs; empty when nobody can say."""
        key = (slug, model_version)
        good_until, known = self._known.get(key, (float("-inf"), {}))
        if self._clock.monotonic() < good_until:
            return known
        try:
            async with errors_of("billing-estimate"):
                request = pb.GetRunEstimateRequest(slug=slug, model_version=model_version)
                estimate = await self._stub.GetRunEstimate(request, timeout=TIMEOUT_SECONDS)
            known = {
                (t.gpu_type, t.region): (
                    t.estimated_warm_request_cost_usd,
                    t.estimated_first_cold_request_cost_usd or t.estimated_warm_request_cost_usd,
                )
                for t in estimate.targets
            }
            fresh = FRESH_SECONDS
        except ForgeError as error:
            if error.kind is not Kind.NOT_FOUND:
                log.warning("no estimate", slug=slug, reason=error.reason)
            fresh = RETRY_SECONDS
        self._known[key] = (self._clock.monotonic() + fresh, known)
        return known
