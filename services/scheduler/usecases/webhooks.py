"""Webhooks as their owners see them, and the loop that delivers what is due."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from services.chassis.clock import Clock
from services.chassis.errors import InvalidInput, ServiceUnavailable, Violation
from services.chassis.tasks import set_or_after
from services.scheduler.domain import webhook as rules
from services.scheduler.domain.webhook import (
    KEPT,
    Answer,
    Delivery,
    DeliveryNotFound,
    DeliveryState,
    TooManyWebhooks,
    Webhook,
    WebhookNotFound,
)
from services.scheduler.ports import Catalog
from services.scheduler.usecases.meters import webhook_tried
from services.scheduler.webhook_ports import Courier, DeliveryPage, Parcel, WebhookStore

log = structlog.get_logger()

MAX_PAGE_SIZE = 100
DEFAULT_PAGE_SIZE = 50

POLL_SECONDS = 2.0
"""How often the postman looks by itself; being woken only makes it faster."""
TIDY_SECONDS = 600.0
"""How often it looks for what has been kept long enough."""
MAX_OPEN = 64
"""How many messages are under way at once, one of each webhook."""
MAX_OPEN_PER_ACCOUNT = 8


@dataclass(frozen=True)
class CreatedWebhook:
    """A new webhook and the only sight of its secret."""

    webhook: Webhook
    secret: str = field(repr=False)


class Webhooks:
    """What the accounts can do with webhooks. `random_bytes` must be fit for secrets."""

    def __init__(
        self,
        *,
        store: WebhookStore,
        catalog: Catalog,
        clock: Clock,
        new_id: Callable[[str], str],
        random_bytes: Callable[[int], bytes],
        to_private_addresses: bool,
        on_waiting: Callable[[], None],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._new_id = new_id
        self._random_bytes = random_bytes
        self._to_private = to_private_addresses
        self._on_waiting = on_waiting

    async def create(self, account: str, url: str, statuses: Sequence[str], model: str) -> CreatedWebhook:
        """Make a webhook; the secret never shows again.

        Raises InvalidInput with all violations, TooManyWebhooks, and what the catalogue raises.
        """
        if violations := rules.violations_of(url, statuses, model, to_private=self._to_private):
            raise InvalidInput(violations)
        if model:
            await self._catalog.version(model, None)
        webhook = Webhook(
            id=self._new_id("whk"),
            account=account,
            url=url,
            statuses=rules.asked_statuses(statuses),
            model=model,
            created_at=self._clock.now(),
        )
        secret = rules.new_secret(self._random_bytes(rules.SECRET_BYTES))
        if not await self._store.add(webhook, secret, at_most=rules.MAX_WEBHOOKS):
            raise TooManyWebhooks
        log.info("webhook created", webhook_id=webhook.id, account=account)  # without the URL: it may hold a secret
        return CreatedWebhook(webhook, secret)

    async def list(self, account: str) -> Sequence[Webhook]:
        """The account's webhooks, newest first."""
        return await self._store.list(account)

    async def delete(self, account: str, webhook_id: str) -> None:
        """Remove a webhook and its deliveries. Raises WebhookNotFound."""
        if not await self._store.remove(account, webhook_id):
            raise WebhookNotFound(webhook_id)
        log.info("webhook deleted", webhook_id=webhook_id, account=account)

    async def deliveries(
        self, account: str, *, state: str, webhook_id: str, page_size: int, page_token: str
    ) -> DeliveryPage:
        """The account's deliveries, newest first. Raises InvalidInput."""
        violations: list[Violation] = []
        if state and state not in list(DeliveryState):
            violations.append(Violation("state", f"must be one of: {', '.join(DeliveryState)}"))
        if not 0 <= page_size <= MAX_PAGE_SIZE:
            violations.append(Violation("page_size", f"must be from 1 to {MAX_PAGE_SIZE}, or be left out"))
        if page_token and not page_token.startswith("dlv_"):
            violations.append(Violation("page_token", "must be the next_page_token of an earlier answer"))
        if violations:
            raise InvalidInput(violations)
        return await self._store.page(
            account,
            state=DeliveryState(state) if state else None,
            webhook_id=webhook_id or None,
            size=page_size or DEFAULT_PAGE_SIZE,
            before=page_token or None,
        )

    async def replay(self, account: str, delivery_id: str) -> Delivery:
        """Try a delivery again from the start, whatever became of it. Raises DeliveryNotFound."""
        now = self._clock.now()
        delivery = await self._store.advance(account, delivery_id, lambda delivery: delivery.replayed(now))
        if delivery is None:
            raise DeliveryNotFound(delivery_id)
        log.info("delivery replayed", delivery_id=delivery_id, account=account)
        self._on_waiting()
        return delivery


class Postman:
    """Delivers what is due, each message at least once. `luck` gives numbers from 0 to 1 for the jitter."""

    def __init__(self, *, store: WebhookStore, courier: Courier, clock: Clock, luck: Callable[[], float]) -> None:
        self._store = store
        self._courier = courier
        self._clock = clock
        self._luck = luck
        self._news = asyncio.Event()
        self._busy: dict[str, str] = {}  # account by webhook

    def wake(self) -> None:
        """Look for what is due now. Nothing is lost when nobody calls this."""
        self._news.set()

    async def deliver(self) -> None:
        """Deliver until canceled. What is under way then is sent again, under the same id, after the next start."""
        tidy_at = self._clock.monotonic()
        async with asyncio.TaskGroup() as under_way:
            while True:
                self._news.clear()
                try:
                    for parcel in await self._next_parcels():
                        self._busy[parcel.delivery.webhook_id] = parcel.delivery.account
                        under_way.create_task(self._try(parcel))
                    if self._clock.monotonic() >= tidy_at:
                        await self._tidy()
                        tidy_at = self._clock.monotonic() + TIDY_SECONDS
                except ServiceUnavailable as error:
                    log.warning("deliveries must wait", problem=error.message)
                    await self._clock.sleep(POLL_SECONDS)
                await set_or_after(self._news, self._clock, POLL_SECONDS)

    async def _next_parcels(self) -> Sequence[Parcel]:
        """What to send now, within the bounds."""
        room = MAX_OPEN - len(self._busy)
        if room <= 0:
            return []
        open_of = Counter(self._busy.values())
        due = await self._store.due(
            self._clock.now(),
            except_webhooks=list(self._busy),
            except_accounts=[account for account, count in open_of.items() if count >= MAX_OPEN_PER_ACCOUNT],
            limit=room,
        )
        parcels: list[Parcel] = []
        for parcel in due:
            open_of[parcel.delivery.account] += 1
            if open_of[parcel.delivery.account] <= MAX_OPEN_PER_ACCOUNT:
                parcels.append(parcel)
        return parcels

    async def _try(self, parcel: Parcel) -> None:
        """Send a message once and keep what came of it."""
        delivery = parcel.delivery
        try:
            headers = rules.signed_headers(parcel.secret, delivery.id, self._clock.now(), parcel.body)
            answer = await self._post(parcel, headers)
            now = self._clock.now()
            after = delivery.tried(answer, now, self._luck())
            webhook_tried(after.state)
            log.info(
                "webhook tried",
                delivery_id=after.id,
                webhook_id=after.webhook_id,
                render_id=after.render_id,
                state=after.state,
                tries=after.tries,
                answer=after.last_answer,
            )
            while True:
                try:
                    await self._store.settle(delivery, after, now)
                    return
                except ServiceUnavailable:  # letting go now would send the same message again and again
                    await self._clock.sleep(POLL_SECONDS)
        finally:
            del self._busy[delivery.webhook_id]
            self.wake()

    async def _post(self, parcel: Parcel, headers: dict[str, str]) -> Answer:
        try:
            return await self._courier.post(parcel.url, headers, parcel.body)
        except Exception as error:  # what one receiver does to us must not end the deliveries to all others
            log.error("a webhook could not be tried", delivery_id=parcel.delivery.id, error=type(error).__name__)
            return Answer(problem="could not be sent")

    async def _tidy(self) -> None:
        """Remove what has been kept long enough."""
        for state, duration in KEPT.items():
            while await self._store.remove_ended(state, self._clock.now() - duration):
                pass
