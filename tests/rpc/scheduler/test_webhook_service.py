"""Webhooks over gRPC, as the edge calls them."""

from contextlib import AsyncExitStack

import grpc
import pytest
from forge.scheduler.v1 import webhook_pb2, webhook_service_pb2, webhook_service_pb2_grpc
from grpc import aio

from services.chassis.clients import channel_to
from services.chassis.identity import Caller
from services.chassis.server import Mount, serving
from services.chassis.status import to_error
from services.scheduler.webhook_servicer import WebhookServicer
from tests.unit.scheduler.webhooks_bench import NOON, URL, a_post_office, some_render

rpc = webhook_service_pb2


@pytest.fixture
async def office(tmp_path):
    async with a_post_office(tmp_path) as office:
        yield office


@pytest.fixture
async def as_caller(office):
    """Makes stubs that call as the edge would for a key of an account with a scope."""
    mount = Mount(
        webhook_service_pb2.DESCRIPTOR.services_by_name["WebhookService"],
        webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server,
        WebhookServicer(office.webhooks),
    )
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving("127.0.0.1:0", [mount], grace_seconds=0))

        async def stub(account: str = "ann", scope: str = "admin") -> webhook_service_pb2_grpc.WebhookServiceStub:
            caller = Caller(account, "key_1", frozenset({scope}))
            channel = await stack.enter_async_context(channel_to(f"127.0.0.1:{port}", caller))
            return webhook_service_pb2_grpc.WebhookServiceStub(channel)

        yield stub


async def refusal_of(call) -> tuple[grpc.StatusCode, str, list[str]]:
    """Code, reason, and the fields that are named."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    error = to_error(caught.value, "scheduler")
    return caught.value.code(), error.reason, [violation.field for violation in error.violations]


async def test_a_webhook_is_made_listed_and_removed(as_caller):
    ann = await as_caller()
    made = await ann.CreateWebhook(rpc.CreateWebhookRequest(url=URL, statuses=["failed", "queued"], model="alpha"))
    assert made.secret.startswith("whsec_")
    assert (made.webhook.url, list(made.webhook.statuses), made.webhook.model) == (URL, ["queued", "failed"], "alpha")
    assert made.webhook.created_at.ToDatetime(tzinfo=NOON.tzinfo) == NOON
    assert list((await ann.ListWebhooks(rpc.ListWebhooksRequest())).webhooks) == [made.webhook]
    await ann.DeleteWebhook(rpc.DeleteWebhookRequest(webhook_id=made.webhook.id))
    assert not (await ann.ListWebhooks(rpc.ListWebhooksRequest())).webhooks


async def test_deliveries_are_listed_and_replayed(as_caller, office):
    ann = await as_caller()
    webhook = (await ann.CreateWebhook(rpc.CreateWebhookRequest(url=URL))).webhook
    for seq in (7, 8):
        await office.happens(some_render(last_seq=seq))
    page = await ann.ListDeliveries(rpc.ListDeliveriesRequest(state="waiting", webhook_id=webhook.id, page_size=1))
    rest = await ann.ListDeliveries(rpc.ListDeliveriesRequest(page_token=page.next_page_token))
    assert [delivery.seq for delivery in (*page.deliveries, *rest.deliveries)] == [8, 7]
    assert rest.next_page_token == ""
    async with office.open():
        await office.quiet()
    (done,) = (await ann.ListDeliveries(rpc.ListDeliveriesRequest(state="delivered", page_size=1))).deliveries
    assert (done.tries, done.last_answer, done.HasField("next_try_at")) == (1, "HTTP 200", False)
    replayed = await ann.ReplayDelivery(rpc.ReplayDeliveryRequest(delivery_id=done.id))
    expected = webhook_pb2.Delivery(
        id=done.id,
        webhook_id=webhook.id,
        render_id="rnd_1",
        seq=8,
        status="succeeded",
        state="waiting",
        created_at=done.created_at,
        next_try_at=done.created_at,
    )
    assert replayed == expected


async def test_wrong_requests_are_answered_with_the_reason_and_the_fields(as_caller):
    ann = await as_caller()
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    missing = grpc.StatusCode.NOT_FOUND
    create = ann.CreateWebhook(rpc.CreateWebhookRequest(statuses=["nope"]))
    assert await refusal_of(create) == (invalid, "INVALID_INPUT", ["url", "statuses[0]"])
    listing = ann.ListDeliveries(rpc.ListDeliveriesRequest(state="gone"))
    assert await refusal_of(listing) == (invalid, "INVALID_INPUT", ["state"])
    delete = ann.DeleteWebhook(rpc.DeleteWebhookRequest(webhook_id="whk_1"))
    assert await refusal_of(delete) == (missing, "WEBHOOK_NOT_FOUND", [])
    replay = ann.ReplayDelivery(rpc.ReplayDeliveryRequest(delivery_id="dlv_1"))
    assert await refusal_of(replay) == (missing, "DELIVERY_NOT_FOUND", [])


async def test_one_webhook_too_many_is_a_quota(as_caller):
    ann = await as_caller()
    for _ in range(20):
        await ann.CreateWebhook(rpc.CreateWebhookRequest(url=URL))
    code, reason, _ = await refusal_of(ann.CreateWebhook(rpc.CreateWebhookRequest(url=URL)))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")


async def test_nobody_reaches_the_webhooks_of_another_account(as_caller, office):
    ann, bob = await as_caller("ann"), await as_caller("bob")
    webhook = (await ann.CreateWebhook(rpc.CreateWebhookRequest(url=URL))).webhook
    await office.happens(some_render())
    (delivery,) = (await ann.ListDeliveries(rpc.ListDeliveriesRequest())).deliveries
    assert not (await bob.ListWebhooks(rpc.ListWebhooksRequest())).webhooks
    assert not (await bob.ListDeliveries(rpc.ListDeliveriesRequest(webhook_id=webhook.id))).deliveries
    delete = bob.DeleteWebhook(rpc.DeleteWebhookRequest(webhook_id=webhook.id))
    assert (await refusal_of(delete))[1] == "WEBHOOK_NOT_FOUND"
    replay = bob.ReplayDelivery(rpc.ReplayDeliveryRequest(delivery_id=delivery.id))
    assert (await refusal_of(replay))[1] == "DELIVERY_NOT_FOUND"


async def test_a_key_that_may_only_read_makes_removes_and_replays_nothing(as_caller):
    reader = await as_caller(scope="read")
    for call in (
        reader.CreateWebhook(rpc.CreateWebhookRequest(url=URL)),
        reader.DeleteWebhook(rpc.DeleteWebhookRequest(webhook_id="whk_1")),
        reader.ReplayDelivery(rpc.ReplayDeliveryRequest(delivery_id="dlv_1")),
    ):
        assert (await refusal_of(call))[1] == "MISSING_SCOPE"
    await reader.ListWebhooks(rpc.ListWebhooksRequest())
    await reader.ListDeliveries(rpc.ListDeliveriesRequest())
