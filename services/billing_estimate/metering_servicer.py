"""The gRPC edge of what the scheduler asks and tells of money: unpack, ask, pack."""

from forge.billing.v1 import metering_service_pb2 as pb
from forge.billing.v1 import metering_service_pb2_grpc as rpc

from services.billing_estimate.convert import estimates as convert
from services.billing_estimate.convert import receipts as convert_receipts
from services.billing_estimate.usecases.estimator import Estimator
from services.billing_estimate.usecases.receipts import Receipts
from services.chassis.server import Mount


class MeteringServicer(rpc.MeteringServiceServicer):
    """Answers MeteringService. It never asks the scheduler, which waits for it."""

    def __init__(self, estimator: Estimator, receipts: Receipts) -> None:
        self._estimator = estimator
        self._receipts = receipts

    async def EstimateTargets(self, request, context):
        inputs = convert.inputs_from_proto(request)
        priced = await self._estimator.everywhere(request.slug, request.model_version, inputs)
        return convert.priced_targets_to_proto(priced)

    async def RecordUse(self, request, context):
        await self._receipts.record(
            convert_receipts.render_from_proto(request), convert_receipts.attempts_from_proto(request)
        )
        return pb.RecordUseResponse()


def mount(estimator: Estimator, receipts: Receipts) -> Mount:
    """The service, ready to be added to a server."""
    descriptor = pb.DESCRIPTOR.services_by_name["MeteringService"]
    return Mount(descriptor, rpc.add_MeteringServiceServicer_to_server, MeteringServicer(estimator, receipts))
