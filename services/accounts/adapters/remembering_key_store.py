"""Keys that were just looked up, in memory: the edge asks for the same few again and again."""

from collections.abc import Mapping
from datetime import datetime

from services.accounts.domain import ApiKey
from services.accounts.ports import KeyStore
from services.chassis.clock import Clock

MEMORY_SECONDS = 2.0
"""How long a revocation by another process may stay unnoticed; the contract allows 5 s."""


class RememberingKeyStore:
    """A KeyStore in front of another one. What it revokes itself it forgets at once."""

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._found: dict[bytes, tuple[ApiKey, float]] = {}

    async def find(self, digest: bytes) -> ApiKey | None:
        """The key whose secret has this keyed hash, as it was at most MEMORY_SECONDS ago."""
        now = self._clock.monotonic()
        key, until = self._found.get(digest, (None, now))
        if key is not None and now < until:
            return key
        key = await self._store.find(digest)
        if key is not None:  # strangers' guesses take no memory
            self._found[digest] = key, now + MEMORY_SECONDS
        return key

    async def revoke(self, account: str, key_id: str, at: datetime) -> ApiKey | None:
        """Revoke a key. None when the account has no such key."""
        key = await self._store.revoke(account, key_id, at)
        self._found.clear()
        return key

    async def add(self, key: ApiKey, digest: bytes) -> None:
        """Keep a new key and the keyed hash of its secret."""
        await self._store.add(key, digest)

    async def list(self, account: str) -> list[ApiKey]:
        """The account's keys, newest first."""
        return await self._store.list(account)

    async def mark_used(self, uses: Mapping[str, datetime]) -> None:
        """Note when keys, by id, were last accepted."""
        await self._store.mark_used(uses)
