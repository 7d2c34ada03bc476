"""Videos in an object store."""

from collections.abc import AsyncGenerator, Collection

import obstore
import structlog
from obstore.store import ObjectStore

from services.chassis.objects import store_failed

log = structlog.get_logger()

PIECE_BYTES = 256 * 1024


class ObstoreVideos:
    """Opens and removes videos through obstore."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None] | None:
        """The bytes under a key, or some of them; None when nothing is there. Raises ServiceUnavailable."""
        part: obstore.GetOptions = {} if length is None else {"range": (offset, offset + length)}
        try:
            return _pieces(await obstore.get_async(self._store, key, options=part))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise store_failed(error) from error

    async def remove_all(self, folder: str, *, but: Collection[str] = ()) -> None:
        """Remove what is under a folder, but some keys. Raises ServiceUnavailable."""
        try:
            async for some in obstore.list(self._store, prefix=f"{folder}/"):
                keys = [found["path"] for found in some if found["path"] not in but]
                await obstore.delete_async(self._store, keys)
        except FileNotFoundError:
            pass  # somebody else removes it too
        except Exception as error:
            raise store_failed(error) from error


async def _pieces(found: "obstore.GetResult") -> AsyncGenerator[bytes, None]:
    pieces = aiter(found.stream(min_chunk_size=PIECE_BYTES))
    while True:
        try:
            piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except Exception as error:
            raise store_failed(error) from error
        yield bytes(piece)
