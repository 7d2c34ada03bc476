"""What the accounts service needs from the outside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.accounts.domain import ApiKey, Session


@dataclass(frozen=True)
class Account:
    """An account, as the operator sees it."""

    name: str
    working_keys: int
    keys: int
    created_at: datetime
    """When its first key was made."""
    last_used_at: datetime | None


class KeyStore(Protocol):
    """Keys that survive. What belongs to an account is reached only by naming the account."""

    async def add(self, key: ApiKey, digest: bytes) -> None:
        """Keep a new key and the keyed hash of its secret."""
        ...

    async def find(self, digest: bytes) -> ApiKey | None:
        """The key whose secret has this keyed hash, whether or not it still works."""
        ...

    async def list(self, account: str) -> list[ApiKey]:
        """The account's keys, newest first."""
        ...

    async def revoke(self, account: str, key_id: str, at: datetime) -> ApiKey | None:
        """The key, revoked; an earlier revocation stands. None when the account has no such key."""
        ...

    async def replace(self, old: ApiKey, successor: ApiKey, digest: bytes, ends_at: datetime) -> ApiKey | None:
        """Keep a key that takes the place of `old`, with the keyed hash of its secret; the old one, ended at `ends_at`.

        Both or neither happens: None, and nothing, when the old key is no longer as it was given.
        """
        ...

    async def accounts(self, now: datetime) -> Sequence[Account]:
        """Every account that has a key, by name: the one question that is asked of no single account."""
        ...

    async def mark_used(self, uses: Mapping[str, datetime]) -> None:
        """Note when keys, by id, were last accepted. Never moves back."""
        ...


class SessionStore(Protocol):
    """Sessions that survive."""

    async def begin(self, session: Session, digest: bytes, now: datetime) -> None:
        """Keep a new session and the keyed hash of its token. Those that expired before `now` are forgotten."""
        ...

    async def session(self, digest: bytes) -> Session | None:
        """The session whose token has this keyed hash, whether or not it or its key still works."""
        ...

    async def end(self, session_id: str) -> Session | None:
        """Forget a session; what it was, None when there was none."""
        ...


class Hasher(Protocol):
    """Turns secrets into what may be stored."""

    def digest(self, secret: str) -> bytes:
        """A keyed hash of `secret`, 32 bytes."""
        ...


class FirstKeyFile(Protocol):
    """Where the first key's secret is left for the operator."""

    def write(self, secret: str) -> None:
        """Leave the secret, readable by its owner only; all of it or nothing."""
        ...
