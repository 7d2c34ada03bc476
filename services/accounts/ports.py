"""What the accounts service needs from the outside."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from services.accounts.domain import ApiKey


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

    async def mark_used(self, uses: Mapping[str, datetime]) -> None:
        """Note when keys, by id, were last accepted. Never moves back."""
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
