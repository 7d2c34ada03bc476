"""Checkpoints in an object store."""

import asyncio

import obstore
import structlog
from obstore.store import ObjectStore

log = structlog.get_logger()

PATIENCE_SECONDS = 5.0


class ObstoreCheckpoints:
    """Removes checkpoints through obstore."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def remove(self, key: str) -> None:
        """Remove one, if the store does so within PATIENCE_SECONDS; else it stays."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            pass
        except Exception as error:  # whatever a store says: what stays is only in the way
            log.warning("a checkpoint stays", key=key, error=type(error).__qualname__)
