"""API keys as their owners see them: what state each is in, and what takes its place."""

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
_WORKS = ("works", "expires soon")


@dataclass(frozen=True)
class KeyRow:
    """A key in the table. `state` is one of: works, expires soon, expired, revoked."""

    key: Mapping[str, Any]
    state: str
    is_own: bool
    successor_prefix: str
    """Start of the secret of the key that takes its place; empty without one that works."""

    @property
    def works(self) -> bool:
        """Whether it opens anything."""
        return self.state in _WORKS

    @property
    def rate_limit(self) -> str:
        """How often it may be used, where it has a limit of its own."""
        limit = self.key.get("rate_limit")
        return f"{limit['requests_per_second']:g} a second, {limit['burst']:,} at once" if limit else ""


def rows_of(keys: Iterable[Mapping[str, Any]], now: datetime, own_id: str) -> list[KeyRow]:
    """The keys as rows, in their order. `own_id` is the key that whoever looks came in with."""
    found = list(keys)
    working = {key["id"]: key["prefix"] for key in found if state_of(key, now) in _WORKS}
    return [
        KeyRow(key, state_of(key, now), key["id"] == own_id, working.get(key.get("replaced_by", ""), ""))
        for key in found
    ]


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
