"""Cost bases, asked from the catalogue over gRPC."""

from __future__ import annotations  # grpc classes are generic in their stubs only

from forge.catalog.v1 import ledger_service_pb2, ledger_service_pb2_grpc
from grpc import aio

from services.billing_estimate.convert.basis import basis_from_proto
from services.billing_estimate.domain.basis import CostBasis
from services.billing_estimate.ports import Inputs
from services.chassis.status import errors_of
from services.chassis.wire import struct


class GrpcCostBases:
    """Asks the catalogue behind `channel`.

    Each answer may take `deadline_seconds`; a catalogue that is just starting is waited for as long.
    """

    def __init__(self, channel: aio.Channel, *, deadline_seconds: float) -> None:
        self._ledger = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        self._deadline_seconds = deadline_seconds

    async def of(self, slug: str, version: str, inputs: Inputs | None) -> CostBasis:
        """What an estimate rests on. The catalogue's own errors; ServiceUnavailable."""
        request = ledger_service_pb2.GetCostBasisRequest(
            slug=slug, model_version=version, input=None if inputs is None else struct(inputs)
        )
        async with errors_of("catalog"):
            answer = await self._ledger.GetCostBasis(request, timeout=self._deadline_seconds, wait_for_ready=True)
        return basis_from_proto(answer)
