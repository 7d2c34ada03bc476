"""Estimates over gRPC. A render never waits long for them: without an answer the cost is unknown."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import structlog
from forge.billing.v1 import metering_service_pb2_grpc as rpc
from grpc import aio

from services.chassis.clock import Clock
from services.chassis.errors import ForgeError
from services.chassis.status import errors_of
from services.scheduler.convert import estimates as convert
from services.scheduler.ports import EstimatesByTarget

log = structlog.get_logger()

FRESH_SECONDS = 15.0
RETRY_SECONDS = 5.0
TIMEOUT_SECONDS = 2.0
MAX_REMEMBERED = 1_000


class GrpcEstimates:
    """Asks the billing-estimate service, and remembers what it said of each shape for a while.

    While the service is away what it said last counts, of the shape itself or else of the version's example.
    """

    def __init__(self, channel: aio.Channel, clock: Clock) -> None:
        self._stub = rpc.MeteringServiceStub(channel)
        self._clock = clock
        self._known: OrderedDict[tuple[str, str, str], tuple[float, EstimatesByTarget]] = OrderedDict()
        self._away_until = float("-inf")

    async def of(self, slug: str, model_version: str, shape: Mapping[str, Any] | None = None) -> EstimatesByTarget:
        """What is known of a version with inputs of this shape, or with its example's; empty when nobody can say."""
        key = (slug, model_version, json.dumps(shape, sort_keys=True))
        good_until, known = self._known.get(key, (float("-inf"), None))
        now = self._clock.monotonic()
        if known is not None and now < good_until:
            return known
        if now >= self._away_until:
            try:
                known = await self._ask(slug, model_version, shape)
                self._remember(key, known)
            except ForgeError as error:
                log.warning("no estimate", slug=slug, reason=error.reason)
                self._away_until = self._clock.monotonic() + RETRY_SECONDS
        return known if known is not None else self._of_example(slug, model_version)

    async def _ask(self, slug: str, model_version: str, shape: Mapping[str, Any] | None) -> EstimatesByTarget:
        request = convert.request_to_proto(slug, model_version, shape)
        async with errors_of("billing-estimate"):
            return convert.by_target(await self._stub.EstimateTargets(request, timeout=TIMEOUT_SECONDS))

    def _remember(self, key: tuple[str, str, str], known: EstimatesByTarget) -> None:
        self._known[key] = (self._clock.monotonic() + FRESH_SECONDS, known)
        self._known.move_to_end(key)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    def _of_example(self, slug: str, model_version: str) -> EstimatesByTarget:
        _, known = self._known.get((slug, model_version, "null"), (0.0, {}))
        return known
