"""The bytes of uploads in an object store."""

import hashlib
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

import obstore
import structlog
from obstore.store import ObjectStore

from services.chassis.objects import put_object, store_failed
from services.scheduler.domain.upload import Upload

log = structlog.get_logger()

_FOLDER = "uploads"


class ObstoreUploads:
    """UploadFiles through obstore.

    What comes back is believed only as far as its size and digest are those that were put: a link, or another file, in
    place of an upload leads nowhere.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put(self, upload_id: str, data: bytes) -> None:
        """Keep bytes."""
        try:
            await put_object(self._store, _key(upload_id), data)
        except Exception as error:
            raise store_failed(error) from error

    async def get(self, upload: Upload) -> bytes | None:
        """The bytes of an upload."""
        try:
            found = await obstore.get_async(self._store, _key(upload.id))
            if found.meta["size"] != upload.size_bytes:
                log.warning("an upload is not what was kept", upload_id=upload.id)
                return None
            data = bytes(await found.bytes_async())
        except FileNotFoundError:
            return None
        except Exception as error:
            raise store_failed(error) from error
        if hashlib.sha256(data).hexdigest() != upload.sha256:
            log.warning("an upload is not what was kept", upload_id=upload.id)
            return None
        return data

    async def remove(self, upload_ids: Sequence[str]) -> None:
        """Remove bytes."""
        for upload_id in upload_ids:
            try:
                await obstore.delete_async(self._store, _key(upload_id))
            except FileNotFoundError:
                pass
            except Exception as error:
                raise store_failed(error) from error

    async def kept_before(self, moment: datetime) -> AsyncGenerator[Sequence[str], None]:
        """Ids of uploads by age."""
        try:
            async for some in obstore.list(self._store, prefix=f"{_FOLDER}/"):
                old = [found["path"] for found in some if found["last_modified"] < moment]
                yield [path.rpartition("/")[2] for path in old]
        except Exception as error:
            raise store_failed(error) from error


def _key(upload_id: str) -> str:
    return f"{_FOLDER}/{upload_id}"
