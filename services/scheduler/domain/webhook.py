"""Webhooks and their deliveries: what is told to whom, when it is tried again, and how it is signed."""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from services.chassis.errors import ForgeError, Kind, Violation
from services.scheduler.domain.remote_address import UrlRefused, endpoint_of
from services.scheduler.domain.render import FINAL, RenderStatus

MAX_WEBHOOKS = 20
"""How many webhooks an account may have."""
MAX_MODEL_LENGTH = 200
SECRET_BYTES = 32
BACKOFF_SECONDS = (5, 30, 120, 600, 3600, 21600)
"""Pause after each try that failed; when they are used up the delivery is dead."""
MAX_PAUSE_SECONDS = BACKOFF_SECONDS[-1]
"""The most that a receiver's `Retry-After` can ask for."""
JITTER = 0.2
"""Share of a pause that chance may add to it, so that what failed together does not come back together."""

# Every status but one: `canceling` only foretells what is told a moment later.
TOLD_STATUSES = tuple(status for status in RenderStatus if status is not RenderStatus.CANCELING)
_GONE = 410


class WebhookNotFound(ForgeError):
    """No such webhook in the caller's account."""

    kind = Kind.NOT_FOUND
    reason = "WEBHOOK_NOT_FOUND"

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"there is no webhook '{webhook_id[:100]}'", resource=("webhook", webhook_id[:100]))


class DeliveryNotFound(ForgeError):
    """No such delivery in the caller's account, now or any more."""

    kind = Kind.NOT_FOUND
    reason = "DELIVERY_NOT_FOUND"

    def __init__(self, delivery_id: str) -> None:
        super().__init__(f"there is no delivery '{delivery_id[:100]}'", resource=("delivery", delivery_id[:100]))


class TooManyWebhooks(ForgeError):
    """The account has as many webhooks as it may."""

    kind = Kind.EXHAUSTED
    reason = "QUOTA_EXCEEDED"

    def __init__(self) -> None:
        super().__init__(
            f"the account has {MAX_WEBHOOKS} webhooks already; delete one first", metadata={"quota": "webhooks"}
        )


@dataclass(frozen=True)
class Webhook:
    """An address that is told when the account's renders change. An empty `model` stands for all."""

    id: str
    account: str
    url: str
    statuses: tuple[RenderStatus, ...]
    model: str
    created_at: datetime

    def asks_for(self, status: RenderStatus, slug: str) -> bool:
        """Whether it wants to hear that a render of this model is in this status now."""
        return status in self.statuses and self.model in ("", slug)


def violations_of(url: str, statuses: Sequence[str], model: str, *, to_private: bool) -> list[Violation]:
    """Everything that is wrong with a webhook to be made."""
    violations: list[Violation] = []
    try:
        endpoint_of(url, to_private=to_private)
    except UrlRefused as refusal:
        violations.append(Violation("url", str(refusal)))
    violations += [
        Violation(f"statuses[{number}]", f"must be one of: {', '.join(TOLD_STATUSES)}")
        for number, status in enumerate(statuses)
        if status not in TOLD_STATUSES
    ]
    if len(model) > MAX_MODEL_LENGTH or not model.isprintable():
        violations.append(Violation("model", "must be the slug of a model; leave it out to be told of all"))
    return violations


def asked_statuses(words: Sequence[str]) -> tuple[RenderStatus, ...]:
    """The statuses that were asked for, each once; the final ones when none was."""
    return tuple(status for status in TOLD_STATUSES if (status in words if words else status in FINAL))


class DeliveryState(StrEnum):
    """Where a delivery is in its life. The words are the wire's."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


_MOVES: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.WAITING: frozenset(DeliveryState),
    # Only somebody who asks for it brings back what has ended.
    DeliveryState.DELIVERED: frozenset({DeliveryState.WAITING}),
    DeliveryState.DEAD: frozenset({DeliveryState.WAITING}),
}

KEPT: Mapping[DeliveryState, timedelta] = {
    DeliveryState.DELIVERED: timedelta(days=7),
    DeliveryState.DEAD: timedelta(days=30),
}
"""How long what has ended can still be listed and replayed."""


class IllegalDeliveryMove(ForgeError):
    """A delivery was told to go where its state does not lead."""

    def __init__(self, source: DeliveryState, to: DeliveryState) -> None:
        super().__init__(f"a delivery cannot go from {source} to {to}")


@dataclass(frozen=True)
class Answer:
    """What a try ended with: an HTTP status, or the problem that there was none.

    `retry_after` is the header of that name as it came, empty when there was none.
    """

    status: int | None = None
    problem: str = ""
    retry_after: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the receiver took the message."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_refusal(self) -> bool:
        """Whether the receiver says that it will never take it."""
        return self.status == _GONE

    @property
    def words(self) -> str:
        """The answer for people."""
        if self.status is None:
            return self.problem[:200]
        return f"HTTP {self.status}" + (" (redirects are not followed)" if 300 <= self.status < 400 else "")


@dataclass(frozen=True)
class Delivery:
    """One message to a webhook. `next_try_at` is None unless it waits, `ended_at` unless it does not."""

    id: str
    account: str
    webhook_id: str
    render_id: str
    seq: int
    status: RenderStatus
    created_at: datetime
    state: DeliveryState = DeliveryState.WAITING
    tries: int = 0
    last_answer: str = ""
    next_try_at: datetime | None = None
    ended_at: datetime | None = None

    def tried(self, answer: Answer, now: datetime, luck: float) -> "Delivery":
        """The delivery after one more try. `luck`, from 0 to 1, is how much of the jitter falls on it."""
        tries = self.tries + 1
        if answer.is_success:
            return self._moved(DeliveryState.DELIVERED, tries=tries, last_answer=answer.words, ended_at=now)
        if answer.is_refusal or tries > len(BACKOFF_SECONDS):
            return self._moved(DeliveryState.DEAD, tries=tries, last_answer=answer.words, ended_at=now)
        pause = pause_seconds(tries, retry_after_seconds(answer.retry_after, now), luck)
        next_try_at = now + timedelta(seconds=pause)
        return self._moved(DeliveryState.WAITING, tries=tries, last_answer=answer.words, next_try_at=next_try_at)

    def replayed(self, now: datetime) -> "Delivery":
        """The delivery at its start again."""
        return self._moved(DeliveryState.WAITING, tries=0, last_answer="", next_try_at=now)

    def _moved(self, to: DeliveryState, **changes: Any) -> "Delivery":
        if to not in _MOVES[self.state]:
            raise IllegalDeliveryMove(self.state, to)
        return replace(self, state=to, **({"next_try_at": None, "ended_at": None} | changes))


def pause_seconds(tries: int, asked_seconds: float, luck: float) -> float:
    """How long to wait after so many tries: as the table says, longer where the receiver asks for it within bounds."""
    pause = max(BACKOFF_SECONDS[tries - 1], min(asked_seconds, MAX_PAUSE_SECONDS))
    return pause * (1 + JITTER * luck)


def retry_after_seconds(header: str, now: datetime) -> float:
    """What a `Retry-After` header asks for, as seconds or as a date; 0 when it asks for nothing that can be read."""
    if header.isascii() and header.isdigit():
        return float(header[:9])
    try:
        date = datetime.strptime(header, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return 0.0
    return max(0.0, (date - now).total_seconds())


def new_secret(random_bytes: bytes) -> str:
    """A signing secret in the form that libraries of the Standard Webhooks specification take."""
    return f"whsec_{base64.b64encode(random_bytes).decode()}"


def signed_headers(secret: str, delivery_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers by which a receiver knows a message and its sender, for a try at this moment."""
    timestamp = str(int(at.timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{delivery_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "content-type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
