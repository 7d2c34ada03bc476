"""Inference bodies, checked by the scheduler over gRPC."""

from __future__ import annotations  # grpc classes are generic in their stubs only

from forge.scheduler.v1 import intake_service_pb2, intake_service_pb2_grpc
from grpc import aio

from services.billing_estimate.convert.basis import checked_from_proto
from services.billing_estimate.ports import CheckedInput, Inputs
from services.chassis.status import errors_of
from services.chassis.wire import struct


class GrpcInputChecks:
    """Asks the scheduler behind `channel`, which may take `deadline_seconds`, its start included."""

    def __init__(self, channel: aio.Channel, *, deadline_seconds: float) -> None:
        self._intake = intake_service_pb2_grpc.IntakeServiceStub(channel)
        self._deadline_seconds = deadline_seconds

    async def check(self, slug: str, body: Inputs) -> CheckedInput:
        """The body, complete. The scheduler's own errors; ServiceUnavailable."""
        request = intake_service_pb2.CheckInputRequest(slug=slug, input=struct(body))
        async with errors_of("scheduler"):
            answer = await self._intake.CheckInput(request, timeout=self._deadline_seconds, wait_for_ready=True)
        return checked_from_proto(answer)
