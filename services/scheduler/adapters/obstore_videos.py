"""Videos in an object store."""

from collections.abc import AsyncGenerator

import obstore
from obstore.store import ObjectStore

PIECE_BYTES = 256 * 1024


class ObstoreVideos:
    """Opens videos through obstore."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def open(self, key: str) -> AsyncGenerator[bytes, None] | None:
        """The bytes under a key; None when nothing is there."""
        try:
            return _pieces(await obstore.get_async(self._store, key))
        except FileNotFoundError:
            return None


async def _pieces(found: "obstore.GetResult") -> AsyncGenerator[bytes, None]:
    async for piece in found.stream(min_chunk_size=PIECE_BYTES):
        yield bytes(piece)
