"""What webhooks need from the world."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from services.scheduler.domain.webhook import Answer, Delivery, DeliveryState, Webhook


@dataclass(frozen=True)
class Parcel:
    """A delivery with what it takes to send it."""

    delivery: Delivery
    url: str
    secret: str = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class DeliveryPage:
    """Some deliveries, newest first; `next_before` continues the listing, None at its end."""

    deliveries: Sequence[Delivery]
    next_before: str | None


Step = Callable[[Delivery], Delivery]
"""A pure step of a delivery."""


class WebhookStore(Protocol):
    """Webhooks and deliveries that survive. What belongs to an account is reached only by naming the account."""

    async def add(self, webhook: Webhook, secret: str, *, at_most: int) -> bool:
        """Keep a new webhook and its secret; False, and nothing is kept, when its account has `at_most` already."""
        ...

    async def list(self, account: str) -> Sequence[Webhook]:
        """The account's webhooks, newest first."""
        ...

    async def remove(self, account: str, webhook_id: str) -> bool:
        """Remove a webhook and its deliveries; False when the account has none of this id."""
        ...

    async def page(
        self, account: str, *, state: DeliveryState | None, webhook_id: str | None, size: int, before: str | None
    ) -> DeliveryPage:
        """Deliveries of the account, newest first, from just before the id `before`."""
        ...

    async def advance(self, account: str, delivery_id: str, step: Step) -> Delivery | None:
        """Apply a step to a delivery of the account; None when it has none of this id."""
        ...

    async def due(
        self, now: datetime, *, except_webhooks: Collection[str], except_accounts: Collection[str], limit: int
    ) -> Sequence[Parcel]:
        """Of each webhook the delivery that has been due longest; webhooks that were tried longest ago come first."""
        ...

    async def settle(self, before: Delivery, after: Delivery, tried_at: datetime) -> bool:
        """Keep what a try led to; False when the delivery was removed or replayed meanwhile.

        Its webhook goes to the end of the line.
        """
        ...

    async def remove_ended(self, state: DeliveryState, before: datetime) -> int:
        """Remove deliveries that ended in a state before a moment; returns how many, 0 when none is left."""
        ...


class Courier(Protocol):
    """Carries messages to receivers."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one message, once. Whatever the receiver does is an answer; it takes a bounded time."""
        ...
