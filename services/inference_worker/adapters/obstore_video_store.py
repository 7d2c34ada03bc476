"""Videos in an object store."""

import obstore
import structlog
from obstore.store import ObjectStore

from services.inference_worker.domain.errors import StorageFailed

log = structlog.get_logger()


class ObstoreVideoStore:
    """Writes videos through obstore, whose puts are atomic: on disk a rename, in a bucket one request."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put(self, key: str, video: bytes) -> None:
        """Write a video. Raises StorageFailed."""
        try:
            await obstore.put_async(self._store, key, video, use_multipart=False)
        except Exception as error:
            log.error("the object store refused a video", error=type(error).__qualname__, size_bytes=len(video))
            raise StorageFailed from error
