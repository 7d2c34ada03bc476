"""The ledger and the bills over gRPC."""

from forge.billing.v1 import metering_service_pb2_grpc
from forge.catalog.v1 import ledger_service_pb2_grpc
from grpc import aio

from services.chassis.status import errors_of
from services.scheduler.convert import reports
from services.scheduler.domain.render import Render

TIMEOUT_SECONDS = 10.0


class GrpcLedger:
    """The ledger of the catalog service: what attempts say of their targets."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)

    async def tell(self, render: Render) -> None:
        """Record the measurements of a render's ended attempts."""
        request = reports.measurements_to_proto(render)
        if request.measurements:
            async with errors_of("the catalog"):
                await self._stub.RecordMeasurements(request, timeout=TIMEOUT_SECONDS)


class GrpcMetering:
    """The bills of the billing-estimate service: what attempts took."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = metering_service_pb2_grpc.MeteringServiceStub(channel)

    async def tell(self, render: Render) -> None:
        """Record the use of a render's ended attempts."""
        async with errors_of("billing-estimate"):
            await self._stub.RecordUse(reports.use_to_proto(render), timeout=TIMEOUT_SECONDS)
