"""The fleet, asked from the scheduler over gRPC."""

from __future__ import annotations  # grpc classes are generic in their stubs only

from forge.scheduler.v1 import runtime_service_pb2, runtime_service_pb2_grpc
from grpc import aio

from services.catalog.convert import models as convert
from services.catalog.domain import RouteTarget
from services.chassis.status import errors_of


class GrpcFleet:
    """Asks the scheduler behind `channel`, and waits at most `deadline_seconds`, also for one that is starting."""

    def __init__(self, channel: aio.Channel, *, deadline_seconds: float) -> None:
        self._runtimes = runtime_service_pb2_grpc.RuntimeServiceStub(channel)
        self._deadline_seconds = deadline_seconds

    async def targets(self) -> tuple[RouteTarget, ...]:
        """Every target of the fleet. ServiceUnavailable."""
        async with errors_of("scheduler"):
            response = await self._runtimes.GetCapacity(
                runtime_service_pb2.GetCapacityRequest(), timeout=self._deadline_seconds, wait_for_ready=True
            )
        return convert.targets_from_proto(response)
