"""What the owner of an account can do with webhooks and deliveries, and what others cannot."""

import base64

import pytest
from structlog.testing import capture_logs

from services.chassis.errors import ForgeError, InvalidInput, Kind
from services.scheduler.domain.webhook import MAX_WEBHOOKS, DeliveryNotFound, TooManyWebhooks, WebhookNotFound
from tests.unit.scheduler.webhooks_bench import BROKEN, NOON, URL, a_post_office, some_render


@pytest.fixture
async def office(tmp_path, open_database_of_all):
    async with a_post_office(tmp_path, open_database_of_all) as office:
        yield office


async def fields_of(work) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        await work
    return [violation.field for violation in caught.value.violations]


async def test_a_secret_is_drawn_and_shown_once(office):
    created = await office.webhook()
    assert base64.b64decode(created.secret.removeprefix("whsec_")) == bytes(range(32))
    (listed,) = await office.webhooks.list("ann")
    assert listed == created.webhook
    assert created.secret not in repr(listed) + repr(created)


async def test_neither_secrets_nor_urls_are_logged(office):
    office.receivers.answers = lambda _: BROKEN
    with capture_logs() as logs:
        created = await office.webhook(f"{URL}?token=hidden")
        await office.happens(some_render())
        async with office.open():
            await office.quiet()
        await office.webhooks.replay("ann", (await office.the_one()).id)
        await office.webhooks.delete("ann", created.webhook.id)
    assert len(logs) == 4
    assert "hidden" not in str(logs)
    assert created.secret.removeprefix("whsec_") not in str(logs)


async def test_a_webhook_is_told_of_the_final_statuses_when_it_names_none(office):
    created = await office.webhooks.create("ann", URL, [], "")
    assert created.webhook.statuses == ("succeeded", "failed", "canceled", "expired")
    assert created.webhook.created_at == NOON


async def test_every_wrong_field_of_a_webhook_is_named(office):
    assert await fields_of(office.webhooks.create("ann", "http://x", ["no"], "\n")) == ["url", "statuses[0]", "model"]


async def test_a_model_that_is_not_in_the_catalogue_is_refused_as_the_catalogue_does(office):
    with pytest.raises(ForgeError) as refused:
        await office.webhooks.create("ann", "https://x.example/", [], "gamma")
    assert refused.value.reason == "MODEL_NOT_FOUND"
    assert not await office.webhooks.list("ann")
    assert await office.webhooks.list("ann") == []


async def test_private_addresses_are_refused_unless_the_installation_allows_them(office, tmp_path):
    assert await fields_of(office.webhook("http://127.0.0.1:8000/")) == ["url"]
    async with a_post_office(tmp_path, to_private=True) as inner:
        assert (await inner.webhook("http://127.0.0.1:8000/")).webhook.url == "http://127.0.0.1:8000/"


async def test_an_account_has_a_bounded_number_of_webhooks_of_its_own(office):
    for number in range(MAX_WEBHOOKS):
        await office.webhook(f"{URL}/{number}")
    with pytest.raises(TooManyWebhooks, match="20 webhooks already; delete one") as caught:
        await office.webhook()
    assert (caught.value.kind, caught.value.reason) == (Kind.EXHAUSTED, "QUOTA_EXCEEDED")
    assert caught.value.metadata == {"quota": "webhooks"}
    await office.webhook(account="bob")
    await office.webhooks.delete("ann", (await office.webhooks.list("ann"))[0].id)
    await office.webhook()
    assert len(await office.webhooks.list("ann")) == MAX_WEBHOOKS


async def test_another_accounts_webhooks_and_deliveries_do_not_exist(office):
    created = await office.webhook()
    await office.happens(some_render())
    delivery = await office.the_one()
    assert await office.webhooks.list("bob") == []
    assert await office.all("bob") == []
    assert await office.all("bob", webhook_id=created.webhook.id) == []
    with pytest.raises(WebhookNotFound):
        await office.webhooks.delete("bob", created.webhook.id)
    with pytest.raises(DeliveryNotFound):
        await office.webhooks.replay("bob", delivery.id)
    assert await office.webhooks.list("ann") == [created.webhook]
    assert await office.the_one() == delivery


async def test_what_does_not_exist_is_named(office):
    with pytest.raises(WebhookNotFound, match="whk_nope") as caught:
        await office.webhooks.delete("ann", "whk_nope")
    assert (caught.value.reason, caught.value.resource) == ("WEBHOOK_NOT_FOUND", ("webhook", "whk_nope"))
    with pytest.raises(DeliveryNotFound, match="dlv_nope") as missing:
        await office.webhooks.replay("ann", "dlv_nope")
    assert (missing.value.reason, missing.value.resource) == ("DELIVERY_NOT_FOUND", ("delivery", "dlv_nope"))


async def test_deliveries_are_listed_page_by_page_newest_first(office):
    await office.webhook()
    for seq in range(1, 6):
        await office.happens(some_render(last_seq=seq))
    pages, token = [], ""
    while True:
        page = await office.webhooks.deliveries("ann", state="", webhook_id="", page_size=2, page_token=token)
        pages.append([delivery.seq for delivery in page.deliveries])
        if page.next_before is None:
            break
        token = page.next_before
    assert pages == [[5, 4], [3, 2], [1]]


async def test_deliveries_are_listed_by_state_and_webhook(office):
    one, two = await office.webhook(f"{URL}/1"), await office.webhook(f"{URL}/2")
    await office.happens(some_render())
    assert [delivery.webhook_id for delivery in await office.all(webhook_id=two.webhook.id)] == [two.webhook.id]
    assert await office.all(state="dead") == []
    waiting = await office.all(state="waiting", webhook_id=one.webhook.id)
    assert [delivery.webhook_id for delivery in waiting] == [one.webhook.id]


async def test_a_listing_names_what_is_wrong_with_it(office):
    listing = office.webhooks.deliveries("ann", state="lost", webhook_id="", page_size=101, page_token="x")
    assert await fields_of(listing) == ["state", "page_size", "page_token"]
    assert await fields_of(office.webhooks.deliveries("ann", state="", webhook_id="", page_size=-1, page_token="")) == [
        "page_size"
    ]
