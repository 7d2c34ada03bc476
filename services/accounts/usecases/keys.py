"""Making, rotating, listing and revoking API keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from services.accounts import domain
from services.accounts.domain import ApiKey, ApiKeyAlreadyRotated, ApiKeyEnded, ApiKeyNotFound
from services.accounts.ports import Account, FirstKeyFile, Hasher, KeyStore
from services.accounts.rates import RateLimit
from services.chassis.clock import Clock
from services.chassis.errors import InvalidInput, MissingScope
from services.chassis.identity import Caller
from services.chassis.ids import new_id

log = structlog.get_logger()

_OF_SETTINGS = "token of the settings"
_FIRST_SCOPES = frozenset({"admin"})


@dataclass(frozen=True)
class CreatedKey:
    """A new key and the only sight of its secret."""

    key: ApiKey
    secret: str


@dataclass(frozen=True)
class RotatedKey:
    """A new key with the only sight of its secret, and the key whose place it takes."""

    key: ApiKey
    secret: str
    replaced: ApiKey


class Keys:
    """The API keys of accounts."""

    def __init__(self, store: KeyStore, hasher: Hasher, clock: Clock, *, environment: str) -> None:
        self._store = store
        self._hasher = hasher
        self._clock = clock
        self._environment = environment

    async def create(
        self,
        caller: Caller,
        name: str,
        scopes: Sequence[str],
        ttl: timedelta | None,
        rate_limit: RateLimit | None = None,
    ) -> CreatedKey:
        """Make a key for the caller's account.

        Raises InvalidInput, and MissingScope for a scope the caller does not hold.
        """
        if violations := domain.violations_of(name, scopes, ttl, rate_limit):
            raise InvalidInput(violations)
        wanted = frozenset(scopes) or domain.DEFAULT_SCOPES
        _check_that_caller_holds(caller, wanted)
        made = self._new(caller.account, name, wanted, ttl, rate_limit)
        return await self._keep(made)

    async def rotate(self, caller: Caller, key_id: str, overlap: timedelta | None) -> RotatedKey:
        """Make a key that takes the place of one of the caller's account, which ends after `overlap`.

        Raises InvalidInput, ApiKeyNotFound, ApiKeyEnded, ApiKeyAlreadyRotated, and MissingScope for a key that may what
        the caller may not.
        """
        overlap = domain.DEFAULT_OVERLAP if overlap is None else overlap
        if violations := domain.violations_of_overlap(overlap):
            raise InvalidInput(violations)
        while True:
            old = await self._rotatable(caller, key_id)
            made = self._new(caller.account, old.name, old.scopes, old.lifetime, old.rate_limit, replaces=old.id)
            ends_at = old.end_after(overlap, made.key.created_at)
            replaced = await self._store.replace(old, made.key, self._hasher.digest(made.secret), ends_at)
            if replaced is not None:
                break  # otherwise somebody changed the old key meanwhile: look again at what it is now
        log.info("api key rotated", key_id=old.id, successor=made.key.id, account=old.account, by=caller.key_id)
        return RotatedKey(made.key, made.secret, replaced)

    async def _rotatable(self, caller: Caller, key_id: str) -> ApiKey:
        """The key, if the caller may rotate it now."""
        now = self._clock.now()
        keys = {key.id: key for key in await self._store.list(caller.account)}
        old = keys.get(key_id)
        if old is None:
            raise ApiKeyNotFound(key_id)
        if not old.works_at(now):
            raise ApiKeyEnded(old)
        successor = keys.get(old.replaced_by or "")
        if successor is not None and successor.works_at(now):
            raise ApiKeyAlreadyRotated(old.id, successor.id)
        _check_that_caller_holds(caller, old.scopes)
        return old

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
        if await self._has_working_key(domain.DEFAULT_ACCOUNT):
            return None
        made = self._new(domain.DEFAULT_ACCOUNT, "first key", _FIRST_SCOPES)
        file.write(made.secret)  # first: a key whose secret got lost on the way would lock everybody out
        await self._keep(made)
        return made.secret

    async def take_token(self, token: str) -> None:
        """Have the secret of the operator's choice be a key of the default account, in place of an earlier one.

        One that was revoked stays so: that is for good, whatever the operator's settings still say.
        """
        digest = self._hasher.digest(token)
        known = await self._store.find(digest)
        for key in await self._store.list(domain.DEFAULT_ACCOUNT):
            is_earlier = key.name == _OF_SETTINGS and (known is None or key.id != known.id)
            if is_earlier and key.works_at(self._clock.now()):
                await self._store.revoke(key.account, key.id, self._clock.now())
        if known is None:
            made = self._new(domain.DEFAULT_ACCOUNT, _OF_SETTINGS, domain.DEFAULT_SCOPES, secret=token)
            await self._keep(made)
        elif not known.works_at(self._clock.now()):
            log.warning("the token of the settings was revoked: choose another", key_id=known.id)

    async def open_account(self, name: str, *, another_key: bool) -> str | None:
        """Make an admin key of the account, which begins with its first key, and give its secret.

        None when the account has a key that works and `another_key` was not asked for. Raises InvalidInput.
        """
        if violations := domain.violations_of_account(name):
            raise InvalidInput(violations)
        if not another_key and await self._has_working_key(name):
            return None
        return (await self._keep(self._new(name, "made by the operator", _FIRST_SCOPES))).secret

    async def accounts(self) -> Sequence[Account]:
        """Every account there is, by name: for the operator, never for a caller."""
        return await self._store.accounts(self._clock.now())

    async def _has_working_key(self, account: str) -> bool:
        now = self._clock.now()
        return any(key.works_at(now) for key in await self._store.list(account))

    def _new(
        self,
        account: str,
        name: str,
        scopes: frozenset[str],
        lifetime: timedelta | None = None,
        rate_limit: RateLimit | None = None,
        replaces: str | None = None,
        secret: str | None = None,
    ) -> CreatedKey:
        now = self._clock.now()
        secret = secret or domain.new_secret(self._environment)
        key = ApiKey(
            id=new_id("key"),
            account=account,
            name=name,
            prefix=domain.shown_prefix(secret),
            scopes=scopes,
            created_at=now,
            expires_at=now + lifetime if lifetime is not None else None,
            lifetime=lifetime,
            rate_limit=rate_limit,
            replaces=replaces,
        )
        return CreatedKey(key, secret)

    async def _keep(self, made: CreatedKey) -> CreatedKey:
        await self._store.add(made.key, self._hasher.digest(made.secret))
        log.info("api key created", key_id=made.key.id, account=made.key.account, scopes=sorted(made.key.scopes))
        return made


def _check_that_caller_holds(caller: Caller, scopes: frozenset[str]) -> None:
    for scope in sorted(scopes):
        if not caller.may(scope):
            raise MissingScope(scope)
