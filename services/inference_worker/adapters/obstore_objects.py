"""Videos, pictures and checkpoints in an object store."""

import obstore
import structlog
from obstore.store import ObjectStore

from services.chassis.objects import put_object
from services.inference_worker.domain.errors import StorageFailed

log = structlog.get_logger()


class ObstoreObjects:
    """Reads and writes through obstore."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put(self, key: str, content: bytes) -> None:
        """Write an object, whole or not at all, in place of one of that key. Raises StorageFailed."""
        try:
            await put_object(self._store, key, content)
        except Exception as error:
            log.error("the object store refused an object", error=type(error).__qualname__, size_bytes=len(content))
            raise StorageFailed from error

    async def get(self, key: str) -> bytes:
        """Read an object. Raises StorageFailed when it cannot be read or is not there."""
        try:
            return bytes(await (await obstore.get_async(self._store, key)).bytes_async())
        except Exception as error:
            log.error("the object store could not read an object", error=type(error).__qualname__)
            raise StorageFailed from error
