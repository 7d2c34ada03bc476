"""The gRPC edge of estimates and receipts: unpack, ask, pack. No rules live here."""

from forge.billing.v1 import billing_estimate_service_pb2 as pb
from forge.billing.v1 import billing_estimate_service_pb2_grpc as rpc

from services.billing_estimate.convert import estimates as convert
from services.billing_estimate.convert import receipts as convert_receipts
from services.billing_estimate.usecases.estimator import Estimator
from services.billing_estimate.usecases.receipts import Receipts
from services.chassis.identity import caller
from services.chassis.server import Mount
from services.chassis.wire import body


class BillingEstimateServicer(rpc.BillingEstimateServiceServicer):
    """Answers BillingEstimateService."""

    def __init__(self, estimator: Estimator, receipts: Receipts) -> None:
        self._estimator = estimator
        self._receipts = receipts

    async def GetRunEstimate(self, request, context):
        pin = convert.pin_from_proto(request)
        estimate = await self._estimator.example(request.slug, request.model_version, pin)
        return convert.run_estimate_to_proto(estimate)

    async def EstimateInput(self, request, context):
        return convert.run_estimate_to_proto(await self._estimator.input(request.slug, body(request.input)))

    async def ListPrices(self, request, context):
        return convert.prices_to_proto(self._estimator.prices(all_times=request.all))

    async def GetReceipt(self, request, context):
        receipt = await self._receipts.receipt(caller().account, request.render_id)
        return convert_receipts.receipt_to_proto(receipt)

    async def GetUsage(self, request, context):
        usage = await self._receipts.usage(
            caller().account,
            since=request.since,
            until=request.until,
            slug=request.model,
            api_key_id=request.api_key_id,
        )
        return convert_receipts.usage_to_proto(usage)

    async def ListCalibrations(self, request, context):
        return convert.calibrations_to_proto(await self._receipts.calibrations())


def mount(estimator: Estimator, receipts: Receipts) -> Mount:
    """The service, ready to be added to a server."""
    descriptor = pb.DESCRIPTOR.services_by_name["BillingEstimateService"]
    servicer = BillingEstimateServicer(estimator, receipts)
    return Mount(descriptor, rpc.add_BillingEstimateServiceServicer_to_server, servicer)
