"""Estimates over gRPC. A render never waits for them: without an answer the cost is unknown."""

import structlog
from forge.billing.v1 import billing_estimate_service_pb2 as pb
from forge.billing.v1 import billing_estimate_service_pb2_grpc as rpc
from grpc import aio

from services.chassis.clock import Clock
from services.chassis.errors import ForgeError, Kind
from services.chassis.status import errors_of
from services.scheduler.convert import estimates as convert
from services.scheduler.ports import Estimate, EstimatesByTarget

log = structlog.get_logger()

FRESH_SECONDS = 60.0
RETRY_SECONDS = 5.0
TIMEOUT_SECONDS = 1.0


class GrpcEstimates:
    """Reads estimates from the billing-estimate service, remembered for a minute."""

    def __init__(self, channel: aio.Channel, clock: Clock) -> None:
        self._stub = rpc.BillingEstimateServiceStub(channel)
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, EstimatesByTarget]] = {}

    async def of(self, slug: str, model_version: str) -> EstimatesByTarget:
        """What is known of a version; empty when nobody can say."""
        key = (slug, model_version)
        good_until, known = self._known.get(key, (float("-inf"), {}))
        if self._clock.monotonic() < good_until:
            return known
        try:
            known = await self._ask(slug, model_version)
            fresh = FRESH_SECONDS
        except ForgeError as error:
            log.warning("no estimate", slug=slug, reason=error.reason)
            fresh = RETRY_SECONDS
        self._known[key] = (self._clock.monotonic() + fresh, known)
        return known

    async def _ask(self, slug: str, model_version: str) -> EstimatesByTarget:
        """The price of every target, and the estimates of those that have figures."""
        async with errors_of("billing-estimate"):
            prices = await self._stub.ListPrices(pb.ListPricesRequest(), timeout=TIMEOUT_SECONDS)
        known = {(p.gpu_type, p.region): Estimate(usd_per_hour=p.cost_per_gpu_hour_usd) for p in prices.prices}
        request = pb.GetRunEstimateRequest(slug=slug, model_version=model_version)
        try:
            async with errors_of("billing-estimate"):
                estimate = await self._stub.GetRunEstimate(request, timeout=TIMEOUT_SECONDS)
        except ForgeError as error:
            if error.kind is Kind.NOT_FOUND:  # no figures
                return known
            raise
        return known | {(t.gpu_type, t.region): convert.estimate(t) for t in estimate.targets}
