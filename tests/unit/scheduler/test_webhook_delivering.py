"""How messages reach their receivers: at least once, soon, and whatever other receivers do."""

import asyncio
import json

import pytest
from standardwebhooks import Webhook as Verifier

from services.chassis.storage import StoreUnavailable
from services.scheduler.domain.render import RenderStatus
from services.scheduler.domain.webhook import KEPT, Answer, DeliveryState
from services.scheduler.usecases.webhooks import MAX_OPEN, MAX_OPEN_PER_ACCOUNT, POLL_SECONDS, TIDY_SECONDS
from tests.unit.scheduler.webhooks_bench import BROKEN, NOON, OK, URL, a_post_office, some_render

DAY = 86400


@pytest.fixture
async def office(tmp_path, open_database_of_all):
    async with a_post_office(tmp_path, open_database_of_all) as office:
        yield office


async def until(holds) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.001)


async def test_what_happens_is_delivered_signed(office):
    created = await office.webhook()
    await office.happens(some_render(), message="made")
    async with office.open():
        await office.quiet()
    ((url, headers, body),) = office.receivers.posts
    assert url == URL
    delivery = await office.the_one()
    assert (delivery.state, delivery.tries, delivery.last_answer) == ("delivered", 1, "HTTP 200")
    assert headers["webhook-id"] == delivery.id
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["data"]["message"] == "made"
    signed_now = Verifier(created.secret).sign(delivery.id, NOON, body.decode())
    assert headers["webhook-signature"] == signed_now


async def test_what_is_written_is_delivered_without_waiting_for_a_look(tmp_path, open_database_of_all):
    async with a_post_office(tmp_path, open_database_of_all, is_woken=True) as office:
        await office.webhook()
        async with office.open():
            for seq in range(1, 31):
                await office.happens(some_render(last_seq=seq))
                await until(lambda seq=seq: len(office.receivers.posts) == seq)
        assert office.clock.monotonic() == 0


async def test_what_waits_for_one_receiver_goes_out_without_a_pause_between(office):
    await office.webhook()
    for seq in range(1, 6):
        await office.happens(some_render(last_seq=seq))
    async with office.open():
        await until(lambda: len(office.receivers.posts) == 5)
    assert office.clock.monotonic() == 0


async def test_what_nobody_was_woken_for_is_found_by_the_next_look(office):
    await office.webhook()
    async with office.open():
        await until(lambda: office.clock.sleepers)
        assert office.store.looks == 1
        await office.happens(some_render())
        office.clock.pass_time(POLL_SECONDS - 0.001)
        await asyncio.sleep(0.02)
        assert office.store.looks == 1
        office.clock.pass_time(0.001)
        await until(lambda: len(office.receivers.posts) == 1)


async def test_a_failing_receiver_is_tried_after_each_pause_of_the_table_under_one_id_then_not_any_more(office):
    await office.webhook()
    office.receivers.answers = lambda _: BROKEN
    await office.happens(some_render())
    async with office.open():
        await office.quiet()
        tries = [len(office.receivers.posts)]
        for pause in (5, 30, 120, 600, 3600, 21600):
            await office.after(pause - 0.001)
            assert len(office.receivers.posts) == tries[-1], f"before {pause} s are over"
            await office.after(0.001)
            tries.append(len(office.receivers.posts))
        assert tries == [1, 2, 3, 4, 5, 6, 7]
        await office.after(2 * DAY)
    assert len(office.receivers.posts) == 7
    assert len(set(office.receivers.ids)) == 1
    delivery = await office.the_one()
    assert (delivery.state, delivery.tries, delivery.last_answer) == ("dead", 7, "HTTP 500")
    assert delivery.next_try_at is None


async def test_every_try_is_signed_for_its_own_time(office):
    created = await office.webhook()
    office.receivers.answers = lambda _: BROKEN
    await office.happens(some_render())
    async with office.open():
        await office.quiet()
        await office.after(5)
    stamps = [int(headers["webhook-timestamp"]) for _, headers, _ in office.receivers.posts]
    assert stamps == [int(NOON.timestamp()), int(NOON.timestamp()) + 5]
    _, headers, body = office.receivers.posts[1]
    signed = Verifier(created.secret).sign(headers["webhook-id"], office.clock.now(), body.decode())
    assert headers["webhook-signature"] == signed


async def test_chance_spreads_the_tries(tmp_path, open_database_of_all):
    async with a_post_office(tmp_path, open_database_of_all, luck=1.0) as office:
        await office.webhook()
        office.receivers.answers = lambda _: BROKEN
        await office.happens(some_render())
        async with office.open():
            await office.quiet()
            await office.after(5.999)
            assert len(office.receivers.posts) == 1
            await office.after(0.001)
            assert len(office.receivers.posts) == 2


async def test_a_receiver_that_recovers_gets_everything(office):
    await office.webhook()
    office.receivers.answers = lambda _: BROKEN if len(office.receivers.posts) <= 4 else OK
    for seq in (1, 2, 3):
        await office.happens(some_render(last_seq=seq))
    async with office.open():
        await office.quiet()
        await office.after(5)
        await office.after(30)
    assert {delivery.state for delivery in await office.all()} == {"delivered"}
    assert {seq for _, seq in office.receivers.told(URL)} == {1, 2, 3}


async def test_the_events_of_a_render_come_in_order_while_the_receiver_takes_them(office):
    await office.webhook(URL, "queued", "running", "succeeded")
    for seq, status in enumerate(("queued", "running", "queued", "running", "succeeded"), 1):
        await office.happens(some_render(last_seq=seq), RenderStatus(status))
    async with office.open():
        await office.quiet()
    assert office.receivers.told(URL) == [("rnd_1", seq) for seq in (1, 2, 3, 4, 5)]
    assert office.receivers.most_open_of[URL] == 1


async def test_a_receiver_that_is_gone_gets_nothing_twice(office):
    await office.webhook()
    office.receivers.answers = lambda _: Answer(status=410)
    await office.happens(some_render())
    async with office.open():
        await office.quiet()
        await office.after(DAY)
    assert len(office.receivers.posts) == 1
    assert (await office.the_one()).state == "dead"


async def test_a_receiver_that_asks_for_time_gets_it(office):
    await office.webhook()
    office.receivers.answers = lambda _: Answer(status=429, retry_after="100")
    await office.happens(some_render())
    async with office.open():
        await office.quiet()
        await office.after(99.999)
        assert len(office.receivers.posts) == 1
        await office.after(0.001)
        assert len(office.receivers.posts) == 2


async def test_a_silent_receiver_holds_up_nobody(office):
    await office.webhook(f"{URL}/silent")
    await office.webhook(f"{URL}/quick")
    office.receivers.silent.add(f"{URL}/silent")
    for seq in range(1, 21):
        await office.happens(some_render(last_seq=seq))
    async with office.open():
        await office.quiet(still_open=1)
        assert office.receivers.told(f"{URL}/quick") == [("rnd_1", seq) for seq in range(1, 21)]
        assert office.receivers.told(f"{URL}/silent") == [("rnd_1", 1)]
        office.receivers.spoken.set()
        await office.quiet()
    assert {delivery.state for delivery in await office.all()} == {"delivered"}


async def test_the_silent_receivers_of_one_account_hold_up_no_other_account(office):
    for number in range(MAX_OPEN_PER_ACCOUNT + 4):
        await office.webhook(f"{URL}/{number}")
        office.receivers.silent.add(f"{URL}/{number}")
    await office.webhook(f"{URL}/bob", account="bob")
    await office.happens(some_render())
    async with office.open():
        await office.quiet(still_open=MAX_OPEN_PER_ACCOUNT)
        await office.happens(some_render(account="bob"))
        await office.quiet(still_open=MAX_OPEN_PER_ACCOUNT)
        assert (await office.the_one("bob")).state == "delivered"
        office.receivers.spoken.set()
        await office.quiet()
    assert {delivery.state for delivery in await office.all()} == {"delivered"}
    assert office.receivers.most_open == MAX_OPEN_PER_ACCOUNT + 1


async def test_so_many_messages_are_under_way_at_once_and_no_more(office):
    accounts = [f"account-{number}" for number in range(MAX_OPEN // 4 + 2)]
    for account in accounts:
        for number in range(4):
            await office.webhook(f"{URL}/{account}/{number}", account=account)
            office.receivers.silent.add(f"{URL}/{account}/{number}")
        await office.happens(some_render(account=account))
    async with office.open():
        await until(lambda: office.receivers.open == MAX_OPEN)
        office.postman.wake()
        await asyncio.sleep(0.02)
        assert office.receivers.open == MAX_OPEN
        office.receivers.spoken.set()
        await office.quiet()
    assert office.receivers.most_open == MAX_OPEN
    assert len(office.receivers.posts) == 4 * len(accounts)


async def test_a_replayed_delivery_is_tried_soon_and_from_the_start(office):
    await office.webhook()
    office.receivers.answers = lambda _: Answer(status=410)
    await office.happens(some_render())
    async with office.open():
        await office.quiet()
        dead = await office.the_one()
        office.receivers.answers = lambda _: BROKEN
        replayed = await office.webhooks.replay("ann", dead.id)
        assert (replayed.state, replayed.tries, replayed.last_answer) == ("waiting", 0, "")
        await until(lambda: len(office.receivers.posts) == 2)
        await office.quiet()
        again = await office.the_one()
        assert (again.id, again.state, again.tries) == (dead.id, "waiting", 1)
        office.receivers.answers = lambda _: OK
        await office.after(5)
    assert (await office.the_one()).state == "delivered"
    assert len(set(office.receivers.ids)) == 1


async def test_a_delivery_that_was_made_can_be_replayed(office):
    await office.webhook()
    await office.happens(some_render())
    async with office.open():
        await office.quiet()
        await office.webhooks.replay("ann", (await office.the_one()).id)
        await office.quiet()
    assert office.receivers.ids == [(await office.the_one()).id] * 2


async def test_a_crash_in_the_middle_repeats_the_delivery_under_its_id(tmp_path, open_database_of_all):
    async with a_post_office(tmp_path, open_database_of_all) as first:
        await first.webhook()
        first.receivers.silent.add(URL)
        await first.happens(some_render())
        async with first.open():
            await until(lambda: first.receivers.open == 1)
    async with a_post_office(tmp_path, open_database_of_all) as second:
        assert (await second.the_one()).tries == 0
        async with second.open():
            await second.quiet()
        assert second.receivers.ids == first.receivers.ids
        assert (await second.the_one()).state == "delivered"


async def test_a_deleted_webhook_is_told_nothing_more(office):
    created = await office.webhook()
    office.receivers.silent.add(URL)
    for seq in (1, 2, 3):
        await office.happens(some_render(last_seq=seq))
    async with office.open():
        await office.quiet(still_open=1)
        await office.webhooks.delete("ann", created.webhook.id)
        office.receivers.spoken.set()
        await office.quiet()
    assert len(office.receivers.posts) == 1
    assert await office.all() == []


async def test_a_message_that_cannot_be_sent_at_all_harms_no_other(office):
    await office.webhook(f"{URL}/strange")
    await office.webhook(f"{URL}/good")

    def answer(url: str) -> Answer:
        if url.endswith("strange"):
            raise ValueError("nobody thought of this")
        return OK

    office.receivers.answers = answer
    await office.happens(some_render())
    async with office.open():
        await office.quiet()
    assert [(delivery.state, delivery.last_answer) for delivery in await office.all()] == [
        ("waiting", "could not be sent"),
        ("delivered", "HTTP 200"),
    ]


async def test_a_store_that_cannot_write_makes_no_receiver_hear_a_message_again_and_again(office, monkeypatch):
    await office.webhook()
    await office.happens(some_render())
    real, failures = office.store.settle, []

    async def settle(*args):
        if len(failures) < 3:
            failures.append(args)
            raise StoreUnavailable
        return await real(*args)

    monkeypatch.setattr(office.store, "settle", settle)
    async with office.open():
        for count in (1, 2, 3):
            await until(lambda count=count: len(failures) == count)
            await asyncio.sleep(0.01)
            office.clock.pass_time(POLL_SECONDS)
        await office.quiet()
    assert len(office.receivers.posts) == 1
    assert (await office.the_one()).state == "delivered"


async def test_a_store_that_cannot_read_is_waited_for(office, monkeypatch):
    await office.webhook()
    await office.happens(some_render())
    real, failures = office.store.due, []

    async def due(*args, **more):
        if not failures:
            failures.append(args)
            raise StoreUnavailable
        return await real(*args, **more)

    monkeypatch.setattr(office.store, "due", due)
    async with office.open():
        await until(lambda: failures)
        while not office.receivers.posts:
            office.clock.pass_time(POLL_SECONDS)
            await asyncio.sleep(0.001)
        await office.quiet()
    assert (await office.the_one()).state == "delivered"


async def test_what_was_delivered_is_kept_a_week_what_is_dead_a_month_what_waits_for_good(office):
    await office.webhook(f"{URL}/good")
    await office.webhook(f"{URL}/gone")
    office.receivers.answers = lambda url: OK if url.endswith("good") else Answer(status=410)
    await office.happens(some_render())

    async def left() -> list[str]:
        await office.after(TIDY_SECONDS)
        await asyncio.sleep(0.01)  # the look comes first, what is old goes after it
        await office.after(0)
        return [delivery.state for delivery in await office.all()]

    async with office.open():
        await office.quiet()
        assert KEPT[DeliveryState.DELIVERED].days == 7
        await office.after(7 * DAY - 3 * TIDY_SECONDS)
        assert await left() == ["delivered", "dead"]
        await office.after(3 * TIDY_SECONDS)
        assert await left() == ["dead"]
        await office.after(22 * DAY)
        assert await left() == ["dead"]
        await office.after(DAY + TIDY_SECONDS)
        assert await left() == []


async def test_an_ended_loop_leaves_nothing_running(office):
    await office.webhook()
    office.receivers.silent.add(URL)
    await office.happens(some_render())
    before = asyncio.all_tasks()
    async with office.open():
        await until(lambda: office.receivers.open == 1)
    assert office.receivers.open == 0
    assert asyncio.all_tasks() == before
