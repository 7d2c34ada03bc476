"""Videos in an object store."""

from collections.abc import AsyncGenerator

import obstore
from obstore.store import ObjectStore

PIECE_BYTES = 256 * 1024


class ObstoreVideos:
    """Reads videos through obstore."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def read(self, key: str) -> AsyncGenerator[bytes, None]:
        """The bytes under a key."""
        found = await obstore.get_async(self._store, key)
        async for piece in found.stream(min_chunk_size=PIECE_BYTES):
            yield bytes(piece)
