"""What is known of uploads, in a SQL database."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from services.chassis.storage import Database
from services.scheduler.domain.upload import Upload
from services.scheduler.image_ports import Held

_uploads = sa.Table(
    "uploads",
    sa.MetaData(),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("account", sa.Text),
    sa.Column("media_type", sa.Text),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("sha256", sa.Text),
    sa.Column("created_at_us", sa.BigInteger),
    sa.Column("expires_at_us", sa.BigInteger),
)
_BATCH = 200  # rows removed in one transaction, so that nobody waits long for the writer


class SqlUploadStore:
    """An UploadStore on the schema that `migrations` make. Times are microseconds since 1970."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, upload: Upload, *, max_count: int, max_bytes: int) -> Held | None:
        """Keep a new upload, if there is room for it."""

        def add(connection: sa.Connection) -> Held | None:
            held = _held(connection, upload.account, upload.created_at)
            if held.count + 1 > max_count or held.size_bytes + upload.size_bytes > max_bytes:
                return held
            connection.execute(sa.insert(_uploads).values(_row(upload)))
            return None

        return await self._database.write(add)

    async def held(self, account: str, now: datetime) -> Held:
        """What the account holds."""
        return await self._database.read(lambda connection: _held(connection, account, now))

    async def get(self, account: str, upload_id: str, now: datetime) -> Upload | None:
        """An upload of the account."""
        query = sa.select(_uploads).where(_is_of(account, now), _uploads.c.id == upload_id)
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else _to_upload(row)

    async def list(self, account: str, now: datetime) -> Sequence[Upload]:
        """The account's uploads, newest first."""
        query = sa.select(_uploads).where(_is_of(account, now)).order_by(_uploads.c.id.desc())
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [_to_upload(row) for row in rows]

    async def remove(self, account: str, upload_id: str, now: datetime) -> bool:
        """Forget an upload of the account."""
        removed = sa.delete(_uploads).where(_is_of(account, now), _uploads.c.id == upload_id)
        return await self._database.write(lambda connection: connection.execute(removed).rowcount == 1)

    async def remove_expired(self, now: datetime) -> Sequence[str]:
        """Forget some of those that have expired."""
        found = sa.select(_uploads.c.id).where(_uploads.c.expires_at_us <= _to_us(now)).limit(_BATCH)
        ids = await self._database.read(lambda connection: connection.execute(found).scalars().all())
        if ids:  # the usual case disturbs no writer
            removed = sa.delete(_uploads).where(_uploads.c.id.in_(ids))
            await self._database.write(lambda connection: connection.execute(removed))
        return ids

    async def known(self, upload_ids: Sequence[str]) -> set[str]:
        """Those of the ids that are known."""
        query = sa.select(_uploads.c.id).where(_uploads.c.id.in_(upload_ids))
        return set(await self._database.read(lambda connection: connection.execute(query).scalars().all()))


def _is_of(account: str, now: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(_uploads.c.account == account, _uploads.c.expires_at_us > _to_us(now))


def _held(connection: sa.Connection, account: str, now: datetime) -> Held:
    query = sa.select(
        sa.func.count(), sa.func.coalesce(sa.func.sum(_uploads.c.size_bytes), 0), sa.func.min(_uploads.c.expires_at_us)
    ).where(_is_of(account, now))
    count, size_bytes, first_us = connection.execute(query).one()
    return Held(count, int(size_bytes), None if first_us is None else _to_datetime(first_us))


def _row(upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.id,
        "account": upload.account,
        "media_type": upload.media_type,
        "width": upload.width,
        "height": upload.height,
        "size_bytes": upload.size_bytes,
        "sha256": upload.sha256,
        "created_at_us": _to_us(upload.created_at),
        "expires_at_us": _to_us(upload.expires_at),
    }


def _to_upload(row: sa.Row[Any]) -> Upload:
    return Upload(
        id=row.id,
        account=row.account,
        media_type=row.media_type,
        width=row.width,
        height=row.height,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        created_at=_to_datetime(row.created_at_us),
        expires_at=_to_datetime(row.expires_at_us),
    )


def _to_us(at: datetime) -> int:
    return round(at.timestamp() * 1e6)


def _to_datetime(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC)
