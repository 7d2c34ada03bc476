"""The gRPC edge of estimates: unpack, ask, pack. No rules live here."""

from forge.billing.v1 import billing_estimate_service_pb2 as pb
from forge.billing.v1 import billing_estimate_service_pb2_grpc as rpc

from services.billing_estimate import convert
from services.billing_estimate.usecases import Estimator
from services.chassis.server import Mount


class BillingEstimateServicer(rpc.BillingEstimateServiceServicer):
    """Answers BillingEstimateService."""

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator

    async def GetRunEstimate(self, request, context):
        pin = convert.pin_from_proto(request)
        estimate = await self._estimator.estimate(request.slug, request.model_version, pin)
        return convert.run_estimate_to_proto(estimate)

    async def ListPrices(self, request, context):
        return convert.prices_to_proto(self._estimator.prices())


def mount(estimator: Estimator) -> Mount:
    """The service, ready to be added to a server."""
    descriptor = pb.DESCRIPTOR.services_by_name["BillingEstimateService"]
    return Mount(descriptor, rpc.add_BillingEstimateServiceServicer_to_server, BillingEstimateServicer(estimator))
