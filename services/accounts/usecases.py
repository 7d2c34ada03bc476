"""Making, listing, revoking and checking API keys."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from services.accounts import domain
from services.accounts.domain import ApiKey, ApiKeyNotFound
from services.accounts.ports import FirstKeyFile, Hasher, KeyStore
from services.chassis.clock import Clock
from services.chassis.errors import InvalidInput, MissingScope
from services.chassis.identity import Caller
from services.chassis.ids import new_id

log = structlog.get_logger()


@dataclass(frozen=True)
class CreatedKey:
    """A new key and the only sight of its secret."""

    key: ApiKey
    secret: str


class Keys:
    """The API keys of accounts."""

    def __init__(self, store: KeyStore, hasher: Hasher, clock: Clock, *, environment: str) -> None:
        self._store = store
        self._hasher = hasher
        self._clock = clock
        self._environment = environment

    async def create(self, caller: Caller, name: str, scopes: Sequence[str], ttl: timedelta | None) -> CreatedKey:
        """Make a key for the caller's account.

        Raises InvalidInput, and MissingScope for a scope the caller does not hold.
        """
        if violations := domain.violations_of(name, scopes, ttl):
            raise InvalidInput(violations)
        wanted = frozenset(scopes) or domain.DEFAULT_SCOPES
        for scope in sorted(wanted):
            if not caller.may(scope):
                raise MissingScope(scope)
        secret = domain.new_secret(self._environment)
        return await self._keep(caller.account, name, wanted, secret, ttl)

    async def list(self, caller: Caller) -> list[ApiKey]:
        """The caller's account's keys, newest first."""
        return await self._store.list(caller.account)

    async def revoke(self, caller: Caller, key_id: str) -> ApiKey:
        """Revoke a key of the caller's account for good. Raises ApiKeyNotFound."""
        key = await self._store.revoke(caller.account, key_id, self._clock.now())
        if key is None:
            raise ApiKeyNotFound(key_id)
        log.info("api key revoked", key_id=key.id, account=key.account, by=caller.key_id)
        return key

    async def make_first(self, file: FirstKeyFile) -> str | None:
        """Make the default account's first key and leave it in `file`; None when the account has a key that works."""
        now = self._clock.now()
        if any(key.works_at(now) for key in await self._store.list(domain.DEFAULT_ACCOUNT)):
            return None
        secret = domain.new_secret(self._environment)
        file.write(secret)  # first: a key whose secret got lost on the way would lock everybody out
        await self._keep(domain.DEFAULT_ACCOUNT, "first key", frozenset({"admin"}), secret, None)
        return secret

    async def _keep(
        self, account: str, name: str, scopes: frozenset[str], secret: str, ttl: timedelta | None
    ) -> CreatedKey:
        now = self._clock.now()
        key = ApiKey(
            id=new_id("key"),
            account=account,
            name=name,
            prefix=domain.shown_prefix(secret),
            scopes=scopes,
            created_at=now,
            expires_at=now + ttl if ttl is not None else None,
        )
        await self._store.add(key, self._hasher.digest(secret))
        log.info("api key created", key_id=key.id, account=account, scopes=sorted(scopes))
        return CreatedKey(key, secret)


class UseLog:
    """Remembers when keys were used, to the minute, and writes it down beside the checks, never within one."""

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._written: dict[str, datetime] = {}
        self._waiting: dict[str, datetime] = {}
        self._news = asyncio.Event()

    def note(self, key: ApiKey) -> None:
        """Remember that `key` was accepted now."""
        minute = self._clock.now().replace(second=0, microsecond=0)
        if self._written.get(key.id, key.last_used_at) != minute:
            self._waiting[key.id] = minute
            self._news.set()

    @asynccontextmanager
    async def kept_written(self) -> AsyncIterator["UseLog"]:
        """Write what is noted while the block runs, and what is left at its end."""
        writer = asyncio.create_task(self._write_for_ever())
        try:
            yield self
        finally:
            writer.cancel()
            await asyncio.wait([writer])
            await self.flush()

    async def _write_for_ever(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self.flush()
            except Exception:  # what was noted stays noted: the next use writes it too
                log.exception("uses of keys could not be written")

    async def flush(self) -> None:
        """Write down what was noted since the last time."""
        if uses := dict(self._waiting):
            await self._store.mark_used(uses)
            self._written |= uses
            self._waiting = {key: minute for key, minute in self._waiting.items() if uses.get(key) != minute}


class Guard:
    """Decides who may pass the edge."""

    def __init__(self, store: KeyStore, hasher: Hasher, uses: UseLog, clock: Clock) -> None:
        self._store = store
        self._hasher = hasher
        self._uses = uses
        self._clock = clock

    async def accept(self, authorization: str) -> ApiKey | None:
        """The working key in an `authorization` header, or None."""
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip(" ")
        if scheme.lower() != "bearer" or not domain.is_well_formed(secret):
            return None
        key = await self._store.find(self._hasher.digest(secret))
        if key is None or not key.works_at(self._clock.now()):
            return None
        self._uses.note(key)
        return key
