"""Prices, asked from billing-estimate over gRPC. Tables are told without money while it is away."""

from __future__ import annotations  # grpc classes are generic in their stubs only

import structlog
from forge.billing.v1 import billing_estimate_service_pb2 as pb
from forge.billing.v1 import billing_estimate_service_pb2_grpc as rpc
from grpc import aio

from services.catalog.convert import performance as convert
from services.catalog.domain.rows import PricePerHour
from services.chassis.clock import Clock
from services.chassis.errors import ForgeError
from services.chassis.status import errors_of

log = structlog.get_logger()

FRESH_SECONDS = 10.0
RETRY_SECONDS = 2.0


class GrpcPrices:
    """Asks the service behind `channel`, waits at most `deadline_seconds`, and remembers the answer for 10 seconds."""

    def __init__(self, channel: aio.Channel, clock: Clock, *, deadline_seconds: float) -> None:
        self._stub = rpc.BillingEstimateServiceStub(channel)
        self._clock = clock
        self._deadline_seconds = deadline_seconds
        self._known: PricePerHour = {}
        self._good_until = float("-inf")

    async def per_hour(self) -> PricePerHour:
        """Prices by device and region; none when nobody can say."""
        if self._clock.monotonic() < self._good_until:
            return self._known
        try:
            async with errors_of("billing-estimate"):
                response = await self._stub.ListPrices(pb.ListPricesRequest(), timeout=self._deadline_seconds)
            self._known, fresh = convert.prices_from_proto(response), FRESH_SECONDS
        except ForgeError as error:
            log.warning("no prices", reason=error.reason)
            self._known, fresh = {}, RETRY_SECONDS
        self._good_until = self._clock.monotonic() + fresh
        return self._known
