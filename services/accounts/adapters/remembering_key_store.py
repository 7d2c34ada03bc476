"""Keys that were just looked up, in memory: the edge asks for the same few again and again."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from services.accounts.domain import ApiKey, Session
from services.accounts.ports import Account, KeyStore, SessionStore
from services.chassis.clock import Clock

_Found = TypeVar("_Found")
MEMORY_SECONDS = 2.0
"""How long a revocation by another process may stay unnoticed; the contract allows 5 s."""


class _Store(KeyStore, SessionStore, Protocol):
    pass


class RememberingKeyStore:
    """A KeyStore and SessionStore in front of another one. What it revokes or ends itself it forgets at once."""

    def __init__(self, store: _Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._found: dict[bytes, tuple[ApiKey, float]] = {}
        self._sessions: dict[bytes, tuple[Session, float]] = {}

    async def find(self, digest: bytes) -> ApiKey | None:
        """The key whose secret has this keyed hash, as it was at most MEMORY_SECONDS ago."""
        return await self._recent(self._found, digest, self._store.find)

    async def _recent(
        self,
        memory: dict[bytes, tuple[_Found, float]],
        digest: bytes,
        look_up: Callable[[bytes], Awaitable[_Found | None]],
    ) -> _Found | None:
        now = self._clock.monotonic()
        found, until = memory.get(digest, (None, now))
        if found is not None and now < until:
            return found
        found = await look_up(digest)
        if found is not None:  # strangers' guesses take no memory
            memory[digest] = found, now + MEMORY_SECONDS
        return found

    async def revoke(self, account: str, key_id: str, at: datetime) -> ApiKey | None:
        """Revoke a key. None when the account has no such key."""
        key = await self._store.revoke(account, key_id, at)
        self._found.clear()
        self._sessions.clear()
        return key

    async def replace(self, old: ApiKey, successor: ApiKey, digest: bytes, ends_at: datetime) -> ApiKey | None:
        """Keep a key that takes the place of `old`, which ends at `ends_at`. None when that is not as it was given."""
        replaced = await self._store.replace(old, successor, digest, ends_at)
        self._found.clear()
        self._sessions.clear()
        return replaced

    async def session(self, digest: bytes) -> Session | None:
        """The session whose token has this keyed hash, as it was at most MEMORY_SECONDS ago."""
        return await self._recent(self._sessions, digest, self._store.session)

    async def begin(self, session: Session, digest: bytes, now: datetime) -> None:
        """Keep a new session and the keyed hash of its token."""
        await self._store.begin(session, digest, now)

    async def end(self, session_id: str) -> Session | None:
        """Forget a session; what it was, None when there was none."""
        session = await self._store.end(session_id)
        self._sessions.clear()
        return session

    async def add(self, key: ApiKey, digest: bytes) -> None:
        """Keep a new key and the keyed hash of its secret."""
        await self._store.add(key, digest)

    async def list(self, account: str) -> list[ApiKey]:
        """The account's keys, newest first."""
        return await self._store.list(account)

    async def accounts(self, now: datetime) -> Sequence[Account]:
        """Every account that has a key, by name."""
        return await self._store.accounts(now)

    async def mark_used(self, uses: Mapping[str, datetime]) -> None:
        """Note when keys, by id, were last accepted."""
        await self._store.mark_used(uses)
