"""API keys and sessions in a SQL database."""

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

import sqlalchemy as sa

from services.accounts.domain import ApiKey, Session
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
)
_sessions = sa.Table(
    "sessions",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("digest", sa.LargeBinary),
    sa.Column("key_id", sa.Text),
    sa.Column("expires_at_us", sa.BigInteger),
)


class SqlKeyStore:
    """A KeyStore and SessionStore on the schema that `migrations` make. Times are microseconds since 1970."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: ApiKey, digest: bytes) -> None:
        """Keep a new key and the keyed hash of its secret."""
        row = {
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
        }
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
        query = (
            sa.select(_keys, _sessions.c.id.label("session_id"), _sessions.c.expires_at_us.label("ends_at_us"))
            .join(_sessions, _sessions.c.key_id == _keys.c.id)
            .where(_sessions.c.digest == digest)
        )
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            return None
        return Session(row.session_id, _to_key(row), datetime.fromtimestamp(row.ends_at_us / 1e6, UTC))

    async def end(self, session_id: str) -> None:
        """Forget a session."""
        ended = sa.delete(_sessions).where(_sessions.c.id == session_id)
        await self._database.write(lambda connection: connection.execute(ended))


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
    )


def _to_us(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1e6)


def _to_datetime(us: int | None) -> datetime | None:
    return None if us is None else datetime.fromtimestamp(us / 1e6, UTC)
