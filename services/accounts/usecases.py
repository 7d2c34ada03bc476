"""Making, listing, revoking and checking API keys."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from services.accounts import domain
from services.accounts.domain import ApiKey, ApiKeyNotFound, CrossOrigin, Knock, Session
from services.accounts.ports import FirstKeyFile, Hasher, KeyStore, SessionStore
from services.chassis.clock import Clock
from services.chassis.errors import InvalidInput, MissingScope, Unauthenticated
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


@dataclass(frozen=True)
class Pass:
    """Leave to pass the edge, in the name of a key, perhaps through a session; of nobody on a public route."""

    key: ApiKey | None = None
    session_id: str = ""


class Guard:
    """Decides who may pass the edge."""

    def __init__(self, keys: KeyStore, sessions: SessionStore, hasher: Hasher, uses: UseLog, clock: Clock) -> None:
        self._keys = keys
        self._sessions = sessions
        self._hasher = hasher
        self._uses = uses
        self._clock = clock

    async def judge(self, knock: Knock) -> Pass | Unauthenticated | CrossOrigin:
        """Whether a request may pass. Public routes need nobody's name, but no route trusts another origin's page."""
        if knock.may_be_forged and (knock.session_token or knock.is_public):
            return CrossOrigin()
        found = await self._key(knock.authorization) if knock.is_bearer else await self._session(knock.session_token)
        if found is None:
            return Pass() if knock.is_public else Unauthenticated()
        return found

    async def key_with(self, secret: str) -> ApiKey | None:
        """The working key with this secret, or None."""
        if not domain.is_well_formed(secret):
            return None
        key = await self._keys.find(self._hasher.digest(secret))
        return key if key is not None and key.works_at(self._clock.now()) else None

    async def _key(self, authorization: str) -> Pass | None:
        scheme, _, secret = authorization.partition(" ")
        key = await self.key_with(secret.strip(" ")) if scheme.lower() == "bearer" else None
        return self._passed(key) if key is not None else None

    async def _session(self, token: str) -> Pass | None:
        session = await self._sessions.session(self._hasher.digest(token)) if token else None
        if session is None or not session.works_at(self._clock.now()):
            return None
        return self._passed(session.key, session.id)

    def _passed(self, key: ApiKey, session_id: str = "") -> Pass:
        self._uses.note(key)
        return Pass(key, session_id)


@dataclass(frozen=True)
class BegunSession:
    """A new session and the only sight of its token."""

    session: Session
    token: str


class Sessions:
    """Browsers that were let in with a key."""

    def __init__(self, store: SessionStore, guard: Guard, hasher: Hasher, clock: Clock) -> None:
        self._store = store
        self._guard = guard
        self._hasher = hasher
        self._clock = clock

    async def begin(self, secret: str) -> BegunSession:
        """Begin a session of the key with this secret. Raises Unauthenticated."""
        key = await self._guard.key_with(secret.strip())
        if key is None:
            raise Unauthenticated
        now = self._clock.now()
        session = Session(new_id("ses"), key, now + domain.SESSION_TTL)
        token = secrets.token_urlsafe(32)
        await self._store.begin(session, self._hasher.digest(token), now)
        log.info("session begun", session=session.id, key_id=key.id, account=key.account)
        return BegunSession(session, token)

    async def end(self, session_id: str) -> None:
        """End a session."""
        await self._store.end(session_id)
        log.info("session ended", session=session_id)
