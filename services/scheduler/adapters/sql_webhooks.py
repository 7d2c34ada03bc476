"""Webhooks and their deliveries in a SQL database, beside the renders they tell of."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from services.chassis.storage import Database
from services.scheduler.convert.webhooks import message_body
from services.scheduler.domain.render import Render, RenderEvent, RenderStatus
from services.scheduler.domain.webhook import TOLD_STATUSES, Delivery, DeliveryState, Webhook
from services.scheduler.webhook_ports import DeliveryPage, Parcel, Step

_webhooks = sa.Table(
    "webhooks",
    sa.MetaData(),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("account", sa.Text),
    sa.Column("url", sa.Text),
    sa.Column("secret", sa.Text),
    sa.Column("statuses", sa.Text),
    sa.Column("model", sa.Text),
    sa.Column("created_at_us", sa.BigInteger),
    sa.Column("last_tried_at_us", sa.BigInteger),
)
_deliveries = sa.Table(
    "webhook_deliveries",
    sa.MetaData(),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("account", sa.Text),
    sa.Column("webhook_id", sa.Text),
    sa.Column("render_id", sa.Text),
    sa.Column("seq", sa.Integer),
    sa.Column("status", sa.Text),
    sa.Column("created_at_us", sa.BigInteger),
    sa.Column("state", sa.Text),
    sa.Column("tries", sa.Integer),
    sa.Column("last_answer", sa.Text),
    sa.Column("next_try_at_us", sa.BigInteger),
    sa.Column("ended_at_us", sa.BigInteger),
    sa.Column("body", sa.LargeBinary),
)
_SHOWN = [column for column in _deliveries.c if column.name != "body"]
_BATCH = 500  # rows removed in one transaction, so that nobody waits long for the writer


class SqlWebhookStore:
    """A WebhookStore on the schema that `migrations` make. Times are microseconds since 1970.

    `on_enqueued` is called on a thread of the database, in the transaction that lets something be told.
    """

    def __init__(
        self, database: Database, new_id: Callable[[str], str], on_enqueued: Callable[[], object] = lambda: None
    ) -> None:
        self._database = database
        self._new_id = new_id
        self._on_enqueued = on_enqueued
        self._was_enqueued = False

    def enqueue(self, connection: sa.Connection, render: Render, event: RenderEvent) -> None:
        """Let a new status be told to every webhook that asks for it, in the transaction that writes its event.

        To be called for events with a status that differs from the one before, and for no others.
        """
        if event.status not in TOLD_STATUSES:
            return
        of_account = sa.select(_webhooks).where(_webhooks.c.account == render.account)
        webhooks = [_to_webhook(row) for row in connection.execute(of_account)]
        asking = [webhook for webhook in webhooks if webhook.asks_for(event.status, render.slug)]
        if not asking:
            return
        body = message_body(render.id, render.slug, event)
        deliveries = [
            Delivery(
                id=self._new_id("dlv"),
                account=webhook.account,
                webhook_id=webhook.id,
                render_id=render.id,
                seq=event.seq,
                status=event.status,
                created_at=event.at,
                next_try_at=event.at,
            )
            for webhook in asking
        ]
        connection.execute(sa.insert(_deliveries), [_row(delivery) | {"body": body} for delivery in deliveries])
        self._was_enqueued = True
        self._on_enqueued()

    async def add(self, webhook: Webhook, secret: str, *, at_most: int) -> bool:
        """Keep a new webhook, unless its account has `at_most` already."""
        count = sa.select(sa.func.count()).where(_webhooks.c.account == webhook.account)
        row = {
            "id": webhook.id,
            "account": webhook.account,
            "url": webhook.url,
            "secret": secret,
            "statuses": ",".join(webhook.statuses),
            "model": webhook.model,
            "created_at_us": _to_us(webhook.created_at),
            "last_tried_at_us": 0,
        }

        def add(connection: sa.Connection) -> bool:
            if connection.execute(count).scalar_one() >= at_most:
                return False
            connection.execute(sa.insert(_webhooks).values(row))
            return True

        return await self._database.write(add)

    async def list(self, account: str) -> Sequence[Webhook]:
        """The account's webhooks, newest first."""
        query = (
            sa.select(_webhooks)
            .where(_webhooks.c.account == account)
            .order_by(_webhooks.c.created_at_us.desc(), _webhooks.c.id.desc())
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [_to_webhook(row) for row in rows]

    async def remove(self, account: str, webhook_id: str) -> bool:
        """Remove a webhook and, with it, its deliveries."""
        removed = sa.delete(_webhooks).where(_webhooks.c.account == account, _webhooks.c.id == webhook_id)
        return await self._database.write(lambda connection: connection.execute(removed).rowcount == 1)

    async def page(
        self, account: str, *, state: DeliveryState | None, webhook_id: str | None, size: int, before: str | None
    ) -> DeliveryPage:
        """Deliveries of the account, newest first."""
        query = sa.select(*_SHOWN).where(_deliveries.c.account == account).order_by(_deliveries.c.id.desc())
        if state is not None:
            query = query.where(_deliveries.c.state == state.value)
        if webhook_id is not None:
            query = query.where(_deliveries.c.webhook_id == webhook_id)
        if before is not None:
            query = query.where(_deliveries.c.id < before)
        rows = await self._database.read(lambda connection: connection.execute(query.limit(size + 1)).all())
        deliveries = [_to_delivery(row) for row in rows[:size]]
        return DeliveryPage(deliveries, deliveries[-1].id if len(rows) > size else None)

    async def advance(self, account: str, delivery_id: str, step: Step) -> Delivery | None:
        """Apply a step to a delivery of the account."""
        this = sa.and_(_deliveries.c.account == account, _deliveries.c.id == delivery_id)

        def advance(connection: sa.Connection) -> Delivery | None:
            row = connection.execute(sa.select(*_SHOWN).where(this)).one_or_none()
            if row is None:
                return None
            after = step(_to_delivery(row))
            connection.execute(sa.update(_deliveries).where(this).values(_row(after)))
            return after

        return await self._database.write(advance)

    async def due(
        self, now: datetime, *, except_webhooks: Collection[str], except_accounts: Collection[str], limit: int
    ) -> Sequence[Parcel]:
        """Of each webhook the delivery that has been due longest; webhooks that were tried longest ago come first."""
        if self._was_enqueued:
            self._was_enqueued = False
            # Writers take turns: when this one's is over, what was enqueued is committed, or never happened.
            await self._database.write(lambda _: None)
        candidates = _deliveries.alias()
        longest_due = (
            sa.select(candidates.c.id)
            .where(
                candidates.c.webhook_id == _webhooks.c.id,
                candidates.c.account == _webhooks.c.account,
                candidates.c.next_try_at_us <= _to_us(now),
            )
            .order_by(candidates.c.next_try_at_us, candidates.c.seq)
            .limit(1)
            .correlate(_webhooks)
            .scalar_subquery()
        )
        query = (
            sa.select(*_deliveries.c, _webhooks.c.url, _webhooks.c.secret)
            .join_from(_webhooks, _deliveries, _deliveries.c.id == longest_due)
            .where(_webhooks.c.id.not_in(except_webhooks), _webhooks.c.account.not_in(except_accounts))
            .order_by(_webhooks.c.last_tried_at_us, _deliveries.c.next_try_at_us)
            .limit(limit)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [Parcel(_to_delivery(row), row.url, row.secret, row.body) for row in rows]

    async def settle(self, before: Delivery, after: Delivery, tried_at: datetime) -> bool:
        """Keep what a try led to, if the delivery is still as it was before the try."""
        untouched = (
            _deliveries.c.account == before.account,
            _deliveries.c.id == before.id,
            _deliveries.c.state == before.state.value,
            _deliveries.c.tries == before.tries,
        )
        last_in_line = (
            sa.update(_webhooks)
            .where(_webhooks.c.account == before.account, _webhooks.c.id == before.webhook_id)
            .values(last_tried_at_us=_to_us(tried_at))
        )

        def settle(connection: sa.Connection) -> bool:
            connection.execute(last_in_line)
            return connection.execute(sa.update(_deliveries).where(*untouched).values(_row(after))).rowcount == 1

        return await self._database.write(settle)

    async def remove_ended(self, state: DeliveryState, before: datetime) -> int:
        """Remove some of the deliveries that ended in a state before a moment."""
        found = (
            sa.select(_deliveries.c.id)
            .where(_deliveries.c.state == state.value, _deliveries.c.ended_at_us < _to_us(before))
            .limit(_BATCH)
        )
        if not await self._database.read(lambda connection: connection.execute(found.limit(1)).all()):
            return 0  # the usual case disturbs no writer
        removed = sa.delete(_deliveries).where(_deliveries.c.id.in_(found))
        return await self._database.write(lambda connection: connection.execute(removed).rowcount)


def _row(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "account": delivery.account,
        "webhook_id": delivery.webhook_id,
        "render_id": delivery.render_id,
        "seq": delivery.seq,
        "status": delivery.status.value,
        "created_at_us": _to_us(delivery.created_at),
        "state": delivery.state.value,
        "tries": delivery.tries,
        "last_answer": delivery.last_answer,
        "next_try_at_us": _to_us(delivery.next_try_at),
        "ended_at_us": _to_us(delivery.ended_at),
    }


def _to_delivery(row: sa.Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        account=row.account,
        webhook_id=row.webhook_id,
        render_id=row.render_id,
        seq=row.seq,
        status=RenderStatus(row.status),
        created_at=_to_datetime(row.created_at_us),
        state=DeliveryState(row.state),
        tries=row.tries,
        last_answer=row.last_answer,
        next_try_at=_to_datetime(row.next_try_at_us) if row.next_try_at_us is not None else None,
        ended_at=_to_datetime(row.ended_at_us) if row.ended_at_us is not None else None,
    )


def _to_webhook(row: sa.Row[Any]) -> Webhook:
    return Webhook(
        id=row.id,
        account=row.account,
        url=row.url,
        statuses=tuple(RenderStatus(status) for status in row.statuses.split(",")),
        model=row.model,
        created_at=_to_datetime(row.created_at_us),
    )


def _to_us(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1e6)


def _to_datetime(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC)
