"""API keys and sessions in a SQL database."""

import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from services.accounts.domain import ApiKey, Session
from services.accounts.ports import Account
from services.accounts.rates import RateLimit
from services.chassis.storage import Database

_metadata = sa.MetaData()
_keys = sa.Table(
    "api_keys",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("account", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("prefix", sa.Text),
    sa.Column("digest", sa.LargeBinary),
    sa.Column("scopes", sa.Text),
    sa.Column("created_at_us", sa.BigInteger),
    sa.Column("expires_at_us", sa.BigInteger),
    sa.Column("revoked_at_us", sa.BigInteger),
    sa.Column("last_used_at_us", sa.BigInteger),
    sa.Column("lifetime_us", sa.BigInteger),
    sa.Column("rate_per_second", sa.Float),
    sa.Column("rate_burst", sa.Integer),
    sa.Column("replaces", sa.Text),
    sa.Column("replaced_by", sa.Text),
)
_sessions = sa.Table(
    "sessions",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("digest", sa.LargeBinary),
    sa.Column("key_id", sa.Text),
    sa.Column("expires_at_us", sa.BigInteger),
)
_sessions_with_keys = sa.select(
    _keys,
    _sessions.c.id.label("session_id"),
    _sessions.c.digest.label("token_digest"),
    _sessions.c.expires_at_us.label("ends_at_us"),
).join(_sessions, _sessions.c.key_id == _keys.c.id)


class SqlKeyStore:
    """A KeyStore and SessionStore on the schema that `migrations` make. Times are microseconds since 1970."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: ApiKey, digest: bytes) -> None:
        """Keep a new key and the keyed hash of its secret."""
        row = _to_row(key, digest)
        await self._database.write(lambda connection: connection.execute(sa.insert(_keys).values(row)))

    async def find(self, digest: bytes) -> ApiKey | None:
        """The key whose secret has this keyed hash, whether or not it still works."""
        query = sa.select(_keys).where(_keys.c.digest == digest)
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        return _to_key(row) if row is not None and hmac.compare_digest(row.digest, digest) else None

    async def list(self, account: str) -> list[ApiKey]:
        """The account's keys, newest first."""
        newest_first = (
            sa.select(_keys).where(_keys.c.account == account).order_by(_keys.c.created_at_us.desc(), _keys.c.id.desc())
        )
        rows = await self._database.read(lambda connection: connection.execute(newest_first).all())
        return [_to_key(row) for row in rows]

    async def revoke(self, account: str, key_id: str, at: datetime) -> ApiKey | None:
        """The key, revoked; an earlier revocation stands. None when the account has no such key."""
        revoked = (
            sa.update(_keys)
            .where(_keys.c.account == account, _keys.c.id == key_id)
            .values(revoked_at_us=sa.func.coalesce(_keys.c.revoked_at_us, _to_us(at)))
            .returning(_keys)
        )
        row = await self._database.write(lambda connection: connection.execute(revoked).one_or_none())
        return _to_key(row) if row is not None else None

    async def replace(self, old: ApiKey, successor: ApiKey, digest: bytes, ends_at: datetime) -> ApiKey | None:
        """Keep a key that takes the place of `old`, with the keyed hash of its secret; the old one, ended at `ends_at`.

        Both or neither happens: None, and nothing, when the old key is no longer as it was given.
        """
        as_it_was = (
            _keys.c.account == old.account,
            _keys.c.id == old.id,
            _keys.c.expires_at_us.is_not_distinct_from(_to_us(old.expires_at)),
            _keys.c.revoked_at_us.is_not_distinct_from(_to_us(old.revoked_at)),
            _keys.c.replaced_by.is_not_distinct_from(old.replaced_by),
        )
        ending = (
            sa.update(_keys)
            .where(*as_it_was)
            .values(replaced_by=successor.id, expires_at_us=_to_us(ends_at))
            .returning(_keys)
        )
        row = _to_row(successor, digest)

        def replace(connection: sa.Connection) -> sa.Row[tuple[object, ...]] | None:
            ended = connection.execute(ending).one_or_none()
            if ended is not None:
                connection.execute(sa.insert(_keys).values(row))
            return ended

        ended = await self._database.write(replace)
        return _to_key(ended) if ended is not None else None

    async def accounts(self, now: datetime) -> Sequence[Account]:
        """Every account that has a key, by name."""
        works = _keys.c.revoked_at_us.is_(None) & (
            _keys.c.expires_at_us.is_(None) | (_keys.c.expires_at_us > _to_us(now))
        )
        by_name = (
            sa.select(
                _keys.c.account,
                sa.func.count().filter(works).label("working_keys"),
                sa.func.count().label("keys"),
                sa.func.min(_keys.c.created_at_us).label("created_at_us"),
                sa.func.max(_keys.c.last_used_at_us).label("last_used_at_us"),
            )
            .group_by(_keys.c.account)
            .order_by(_keys.c.account)
        )
        rows = await self._database.read(lambda connection: connection.execute(by_name).all())
        return [
            Account(
                name=row.account,
                working_keys=row.working_keys,
                keys=row.keys,
                created_at=datetime.fromtimestamp(row.created_at_us / 1e6, UTC),
                last_used_at=_to_datetime(row.last_used_at_us),
            )
            for row in rows
        ]

    async def mark_used(self, uses: Mapping[str, datetime]) -> None:
        """Note when keys, by id, were last accepted. Never moves back."""

        def mark(connection: sa.Connection) -> None:
            for key_id, at in uses.items():
                newer = sa.or_(_keys.c.last_used_at_us.is_(None), _keys.c.last_used_at_us < _to_us(at))
                connection.execute(
                    sa.update(_keys).where(_keys.c.id == key_id, newer).values(last_used_at_us=_to_us(at))
                )

        await self._database.write(mark)

    async def begin(self, session: Session, digest: bytes, now: datetime) -> None:
        """Keep a new session and the keyed hash of its token. Those that expired before `now` are forgotten."""
        row = {
            "id": session.id,
            "digest": digest,
            "key_id": session.key.id,
            "expires_at_us": _to_us(session.expires_at),
        }

        def begin(connection: sa.Connection) -> None:
            connection.execute(sa.delete(_sessions).where(_sessions.c.expires_at_us < _to_us(now)))
            connection.execute(sa.insert(_sessions).values(row))

        await self._database.write(begin)

    async def session(self, digest: bytes) -> Session | None:
        """The session whose token has this keyed hash, whether or not it or its key still works."""
        query = _sessions_with_keys.where(_sessions.c.digest == digest)
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        return _to_session(row) if row is not None and hmac.compare_digest(row.token_digest, digest) else None

    async def end(self, session_id: str) -> Session | None:
        """Forget a session; what it was, None when there was none."""

        def end(connection: sa.Connection) -> Session | None:
            row = connection.execute(_sessions_with_keys.where(_sessions.c.id == session_id)).one_or_none()
            connection.execute(sa.delete(_sessions).where(_sessions.c.id == session_id))
            return _to_session(row) if row is not None else None

        return await self._database.write(end)


def _to_session(row: sa.Row[tuple[object, ...]]) -> Session:
    return Session(row.session_id, _to_key(row), datetime.fromtimestamp(row.ends_at_us / 1e6, UTC))


def _to_row(key: ApiKey, digest: bytes) -> dict[str, object]:
    limit = key.rate_limit
    return {
        "id": key.id,
        "account": key.account,
        "name": key.name,
        "prefix": key.prefix,
        "digest": digest,
        "scopes": ",".join(sorted(key.scopes)),
        "created_at_us": _to_us(key.created_at),
        "expires_at_us": _to_us(key.expires_at),
        "revoked_at_us": _to_us(key.revoked_at),
        "last_used_at_us": _to_us(key.last_used_at),
        "lifetime_us": None if key.lifetime is None else key.lifetime // timedelta(microseconds=1),
        "rate_per_second": None if limit is None else limit.requests_per_second,
        "rate_burst": None if limit is None else limit.burst,
        "replaces": key.replaces,
        "replaced_by": key.replaced_by,
    }


def _to_key(row: sa.Row[tuple[object, ...]]) -> ApiKey:
    return ApiKey(
        id=row.id,
        account=row.account,
        name=row.name,
        prefix=row.prefix,
        scopes=frozenset(row.scopes.split(",")),
        created_at=datetime.fromtimestamp(row.created_at_us / 1e6, UTC),
        expires_at=_to_datetime(row.expires_at_us),
        revoked_at=_to_datetime(row.revoked_at_us),
        last_used_at=_to_datetime(row.last_used_at_us),
        lifetime=None if row.lifetime_us is None else timedelta(microseconds=row.lifetime_us),
        rate_limit=None if row.rate_burst is None else RateLimit(row.rate_per_second, row.rate_burst),
        replaces=row.replaces,
        replaced_by=row.replaced_by,
    )


def _to_us(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1e6)


def _to_datetime(us: int | None) -> datetime | None:
    return None if us is None else datetime.fromtimestamp(us / 1e6, UTC)
