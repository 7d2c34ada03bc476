"""Webhooks and what they are told."""

import json
from collections.abc import Iterable

from forge.scheduler.v1 import webhook_pb2, webhook_service_pb2
from google.protobuf import json_format

from services.chassis.wire import timestamp
from services.scheduler.convert.renders import event_to_proto
from services.scheduler.domain.render import RenderEvent
from services.scheduler.domain.webhook import Delivery, Webhook
from services.scheduler.usecases.webhooks import CreatedWebhook
from services.scheduler.webhook_ports import DeliveryPage


def message_body(render_id: str, slug: str, event: RenderEvent) -> bytes:
    """What a webhook is told of an event: JSON in the words of the REST contract."""
    told = json_format.MessageToDict(
        event_to_proto(render_id, event),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,  # as the edge does
    )
    message = {
        "type": f"render.{event.status}",
        "timestamp": told["at"],
        "data": {"render_id": render_id, "slug": slug} | told,
    }
    return json.dumps(message, separators=(",", ":")).encode()


def webhook_to_proto(webhook: Webhook) -> webhook_pb2.Webhook:
    """A webhook as it can be shown."""
    return webhook_pb2.Webhook(
        id=webhook.id,
        url=webhook.url,
        statuses=webhook.statuses,
        model=webhook.model,
        created_at=timestamp(webhook.created_at),
    )


def created_to_proto(created: CreatedWebhook) -> webhook_service_pb2.CreateWebhookResponse:
    """A new webhook with its secret."""
    return webhook_service_pb2.CreateWebhookResponse(webhook=webhook_to_proto(created.webhook), secret=created.secret)


def webhooks_to_proto(webhooks: Iterable[Webhook]) -> webhook_service_pb2.ListWebhooksResponse:
    """All webhooks of an account."""
    return webhook_service_pb2.ListWebhooksResponse(webhooks=[webhook_to_proto(webhook) for webhook in webhooks])


def delivery_to_proto(delivery: Delivery) -> webhook_pb2.Delivery:
    """A delivery as its owner sees it."""
    return webhook_pb2.Delivery(
        id=delivery.id,
        webhook_id=delivery.webhook_id,
        render_id=delivery.render_id,
        seq=delivery.seq,
        status=delivery.status,
        state=delivery.state,
        tries=delivery.tries,
        last_answer=delivery.last_answer,
        created_at=timestamp(delivery.created_at),
        next_try_at=timestamp(delivery.next_try_at),
    )


def page_to_proto(page: DeliveryPage) -> webhook_service_pb2.ListDeliveriesResponse:
    """A page of deliveries."""
    return webhook_service_pb2.ListDeliveriesResponse(
        deliveries=[delivery_to_proto(delivery) for delivery in page.deliveries],
        next_page_token=page.next_before or "",
    )
