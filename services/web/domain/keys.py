"""API keys as their owners see them: what state each is in, and what takes its place when it is rotated."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.web.domain.words import when

SCOPES = (
    ("read", "Look at models, prices and the account's renders"),
    ("inference", "Make renders, start and stop runtimes; includes read"),
    ("admin", "Make and revoke keys, webhooks and probes; includes the others"),
)
DEFAULT_SCOPES = ("read", "inference")
_SOON = timedelta(days=7)


@dataclass(frozen=True)
class KeyRow:
    """A key in the table. `state` is one of: works, expires soon, expired, revoked."""

    key: Mapping[str, Any]
    state: str
    is_own: bool
    ttl_seconds: int | None
    """How long a key that takes its place works, as long as it itself was made for; None for ever."""

    @property
    def works(self) -> bool:
        """Whether it opens anything."""
        return self.state in ("works", "expires soon")


def rows_of(keys: Iterable[Mapping[str, Any]], now: datetime, own_id: str) -> list[KeyRow]:
    """The keys as rows, in their order. `own_id` is the key that whoever looks came in with."""
    return [KeyRow(key, state_of(key, now), key["id"] == own_id, _ttl_seconds(key)) for key in keys]


def state_of(key: Mapping[str, Any], now: datetime) -> str:
    """What can be done with a key at `now`."""
    if key.get("revoked_at"):
        return "revoked"
    expires = when(key.get("expires_at"))
    if expires is None:
        return "works"
    if expires <= now:
        return "expired"
    return "expires soon" if expires - now < _SOON else "works"


def _ttl_seconds(key: Mapping[str, Any]) -> int | None:
    created, expires = when(key.get("created_at")), when(key.get("expires_at"))
    return None if created is None or expires is None else round((expires - created).total_seconds())
