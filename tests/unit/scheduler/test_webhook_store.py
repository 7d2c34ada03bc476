"""What the store of webhooks promises, and what writing an event costs."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from services.scheduler.adapters.sql_webhooks import SqlWebhookStore
from services.scheduler.domain.render import RenderStatus, snapshot
from services.scheduler.domain.webhook import DeliveryState
from tests.unit.scheduler.webhooks_bench import BROKEN, NOON, OK, URL, a_post_office, some_render


@pytest.fixture
async def office(tmp_path, open_database):
    async with a_post_office(tmp_path, open_database) as office:
        yield office


async def due(office, *, webhooks=(), accounts=(), limit=100, later=timedelta()):
    return await office.store.due(
        office.clock.now() + later, except_webhooks=webhooks, except_accounts=accounts, limit=limit
    )


async def statements(office, work) -> list[str]:
    """The statements that a transaction runs."""
    seen: list[str] = []

    def watched(connection: sa.Connection) -> None:
        note = lambda *args: seen.append(args[2])  # noqa: E731 — what is listened with is what is let go of
        event.listen(connection, "before_cursor_execute", note)
        work(connection)
        event.remove(connection, "before_cursor_execute", note)

    await office.database.write(watched)
    return seen


async def test_an_event_is_told_to_every_webhook_of_the_account_that_asks_for_it(office):
    every = await office.webhook(f"{URL}/every")
    await office.webhook(f"{URL}/failures", "failed", "expired")
    alphas = await office.webhook(f"{URL}/alpha", "failed", "succeeded", model="alpha")
    await office.webhook(f"{URL}/beta", model="beta")
    await office.webhook(f"{URL}/bob", account="bob")
    await office.happens(some_render())
    assert [delivery.webhook_id for delivery in await office.all()] == [every.webhook.id, alphas.webhook.id]
    assert await office.all("bob") == []


async def test_a_delivery_says_what_it_tells_and_waits_to_be_tried_at_once(office):
    webhook = (await office.webhook()).webhook
    await office.happens(some_render(), message="made")
    delivery = await office.the_one()
    assert (delivery.webhook_id, delivery.render_id, delivery.seq) == (webhook.id, "rnd_1", 7)
    assert (delivery.status, delivery.state, delivery.tries, delivery.last_answer) == ("succeeded", "waiting", 0, "")
    assert (delivery.created_at, delivery.next_try_at, delivery.ended_at) == (NOON, NOON, None)
    (parcel,) = await due(office)
    assert (parcel.delivery, parcel.url) == (delivery, URL)
    assert json.loads(parcel.body)["data"]["message"] == "made"


async def test_an_event_costs_one_statement_where_nobody_asks_and_two_where_somebody_does(office):
    succeeded = snapshot(some_render(status=RenderStatus.SUCCEEDED), NOON, "")
    assert len(await statements(office, lambda c: office.store.enqueue(c, some_render(), succeeded))) == 1
    for number in range(3):
        await office.webhook(f"{URL}/{number}")
    assert len(await statements(office, lambda c: office.store.enqueue(c, some_render(), succeeded))) == 2
    assert len(await office.all()) == 3
    canceling = snapshot(some_render(status=RenderStatus.CANCELING), NOON, "")
    assert await statements(office, lambda c: office.store.enqueue(c, some_render(), canceling)) == []


async def test_a_transaction_that_fails_tells_nobody(office):
    await office.webhook()

    def fail(connection: sa.Connection) -> None:
        office.store.enqueue(connection, some_render(), snapshot(some_render(status=RenderStatus.SUCCEEDED), NOON, ""))
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        await office.database.write(fail)
    assert await office.all() == []


async def test_of_each_webhook_only_what_has_been_due_longest_is_next(office):
    await office.webhook(f"{URL}/a")
    await office.webhook(f"{URL}/b", "failed")
    for seq in (3, 1, 2):
        await office.happens(some_render(last_seq=seq))
    office.clock.pass_time(1)
    await office.happens(some_render(last_seq=4), RenderStatus.FAILED)
    found = await due(office)
    assert [(parcel.url, parcel.delivery.seq) for parcel in found] == [(f"{URL}/a", 1), (f"{URL}/b", 4)]


async def test_what_is_not_due_yet_is_not_next(office):
    await office.webhook()
    await office.happens(some_render())
    delivery = await office.the_one()
    await office.store.settle(delivery, delivery.tried(BROKEN, NOON, 0.0), NOON)
    assert await due(office, later=timedelta(seconds=4.999)) == []
    assert len(await due(office, later=timedelta(seconds=5))) == 1


async def test_the_webhook_that_was_tried_longest_ago_comes_first(office):
    for name in "abc":
        await office.webhook(f"{URL}/{name}")
    for seq in (1, 2, 3):
        await office.happens(some_render(last_seq=seq))
    served = []
    for _ in range(6):
        office.clock.pass_time(1)
        (parcel,) = await due(office, limit=1)
        served.append(parcel.url[-1])
        now = office.clock.now()
        await office.store.settle(parcel.delivery, parcel.delivery.tried(OK, now, 0.0), now)
    assert "".join(served) == "abcabc"


async def test_webhooks_and_accounts_can_be_left_out(office):
    first = await office.webhook(f"{URL}/1")
    await office.webhook(f"{URL}/2")
    await office.webhook(f"{URL}/3", account="bob")
    await office.happens(some_render())
    await office.happens(some_render(account="bob"))
    assert [parcel.url[-1] for parcel in await due(office, webhooks=[first.webhook.id])] == ["2", "3"]
    assert [parcel.url[-1] for parcel in await due(office, accounts=["ann"])] == ["3"]


async def test_looking_for_what_is_due_costs_a_look_at_each_webhook_however_much_waits(office):
    await office.webhook()
    await office.happens(some_render())
    explained: list[str] = []

    def watch(*args) -> None:
        sql, parameters = args[2], args[3]
        if not sql.startswith("SELECT"):
            return
        if args[0].dialect.name == "sqlite":
            rows = args[1].connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
        else:
            args[1].execute("SET LOCAL enable_seqscan = off")  # it would read a table of one row as a whole
            rows = args[1].execute(f"EXPLAIN {sql}", parameters)
        explained.extend(row[-1].lower() for row in rows)

    event.listen(sa.Engine, "before_cursor_execute", watch)
    try:
        await due(office)
    finally:
        event.remove(sa.Engine, "before_cursor_execute", watch)
    of_deliveries = [step for step in explained if "webhook_deliveries" in step and ": " not in step]
    assert of_deliveries, explained
    assert all(step.startswith("search") or "index scan" in step for step in of_deliveries), explained
    assert any("webhook_deliveries_due" in step for step in of_deliveries), explained


async def test_what_a_try_led_to_is_kept_only_if_nothing_else_happened_meanwhile(office):
    await office.webhook()
    await office.happens(some_render())
    fresh = await office.the_one()
    tired = fresh.tried(BROKEN, NOON, 0.0)
    assert await office.store.settle(fresh, tired, NOON)
    assert not await office.store.settle(fresh, fresh.tried(OK, NOON, 0.0), NOON), "somebody else tried it"
    await office.webhooks.replay("ann", fresh.id)
    assert not await office.store.settle(tired, tired.tried(OK, NOON, 0.0), NOON), "it was replayed"
    assert await office.the_one() == fresh
    assert await office.store.settle(fresh, fresh.tried(OK, NOON, 0.0), NOON)
    assert not await office.store.settle(tired, tired.tried(BROKEN, NOON, 0.0), NOON), "it has ended"
    assert (await office.the_one()).state == "delivered"
    await office.webhooks.replay("ann", fresh.id)
    assert not await office.store.settle(replace(fresh, account="bob"), fresh.tried(OK, NOON, 0.0), NOON)


async def test_a_webhook_takes_its_deliveries_with_it(office):
    gone, kept = await office.webhook(f"{URL}/1"), await office.webhook(f"{URL}/2")
    await office.happens(some_render())
    assert await office.store.remove("ann", gone.webhook.id)
    assert [delivery.webhook_id for delivery in await office.all()] == [kept.webhook.id]
    assert [parcel.url[-1] for parcel in await due(office)] == ["2"]


async def test_only_what_ended_in_that_state_before_that_moment_is_removed(office):
    await office.webhook()
    for seq in (1, 2, 3):
        await office.happens(some_render(last_seq=seq))
    delivered, dead, waiting = await office.all()
    await office.store.settle(delivered, delivered.tried(OK, NOON, 0.0), NOON)
    await office.store.settle(
        dead, replace(dead.tried(BROKEN, NOON, 0.0), state=DeliveryState.DEAD, ended_at=NOON), NOON
    )
    later = NOON + timedelta(microseconds=1)
    assert await office.store.remove_ended(DeliveryState.DELIVERED, NOON) == 0
    assert await office.store.remove_ended(DeliveryState.DELIVERED, later) == 1
    assert [delivery.seq for delivery in await office.all()] == [2, 3]
    assert await office.store.remove_ended(DeliveryState.DEAD, later) == 1
    assert await office.all() == [waiting]


async def test_webhooks_come_back_as_they_were_made(office):
    made = [
        (await office.webhook(f"{URL}/1", "queued", "paused", model="alpha")).webhook,
        (await office.webhook(f"{URL}/2")).webhook,
    ]
    assert await office.store.list("ann") == made[::-1]
    assert await SqlWebhookStore(office.database, str).list("ann") == made[::-1]
