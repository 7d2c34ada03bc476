"""The gRPC edge of the ledger, for the other services: unpack, ask, pack. No rules live here."""

from forge.catalog.v1 import ledger_service_pb2 as pb
from forge.catalog.v1 import ledger_service_pb2_grpc as rpc

from services.catalog.convert import ledger as convert
from services.catalog.convert.measurements import measurements_from_proto
from services.catalog.usecases.ledger import LedgerBook
from services.chassis.server import Mount


class LedgerServicer(rpc.LedgerServiceServicer):
    """Answers LedgerService."""

    def __init__(self, book: LedgerBook) -> None:
        self._book = book

    async def RecordMeasurements(self, request, context):
        await self._book.record(measurements_from_proto(request))
        return pb.RecordMeasurementsResponse()

    async def GetCostBasis(self, request, context):
        inputs = convert.input_from_proto(request)
        return convert.cost_basis_to_proto(await self._book.cost_basis(request.slug, request.model_version, inputs))


def mount_ledger(book: LedgerBook) -> Mount:
    """The service, ready to be added to a server."""
    descriptor = pb.DESCRIPTOR.services_by_name["LedgerService"]
    return Mount(descriptor, rpc.add_LedgerServiceServicer_to_server, LedgerServicer(book))
