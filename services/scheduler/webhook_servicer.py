"""The gRPC edge of webhooks: unpack, ask, pack. No rules live here."""

from forge.scheduler.v1 import webhook_service_pb2, webhook_service_pb2_grpc

from services.chassis.identity import caller
from services.scheduler.convert import webhooks as convert
from services.scheduler.usecases.webhooks import Webhooks


class WebhookServicer(webhook_service_pb2_grpc.WebhookServiceServicer):
    """Webhooks of the caller's account."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def CreateWebhook(self, request, context):
        created = await self._webhooks.create(caller().account, request.url, request.statuses, request.model)
        return convert.created_to_proto(created)

    async def ListWebhooks(self, request, context):
        return convert.webhooks_to_proto(await self._webhooks.list(caller().account))

    async def DeleteWebhook(self, request, context):
        await self._webhooks.delete(caller().account, request.webhook_id)
        return webhook_service_pb2.DeleteWebhookResponse()

    async def ListDeliveries(self, request, context):
        page = await self._webhooks.deliveries(
            caller().account,
            state=request.state,
            webhook_id=request.webhook_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return convert.page_to_proto(page)

    async def ReplayDelivery(self, request, context):
        return convert.delivery_to_proto(await self._webhooks.replay(caller().account, request.delivery_id))
