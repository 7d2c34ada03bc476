"""The object store: in memory, shared by all, sometimes full, sometimes failing."""

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import suppress
from random import Random

from services.chassis.errors import ServiceUnavailable
from services.inference_worker.domain.errors import StorageFailed
from tests.simulation.record import Record


class Objects:
    """What workers write and the scheduler reads. A put happens at one moment: all of it or nothing."""

    def __init__(self, rng: Random, record: Record) -> None:
        self.stored: dict[str, bytes] = {}
        self.is_full = False
        self.fails = 0.0
        """Probability that one operation fails, before or after it happened."""
        self._rng = rng
        self._record = record

    async def put(self, key: str, content: bytes) -> None:
        """Write an object. Raises StorageFailed."""
        await self._travel(key)
        if self.is_full:
            self._record(f"the object store is full: {key}")
            raise StorageFailed
        self.stored[key] = content
        await self._travel(key)

    async def get(self, key: str) -> bytes:
        """Read an object. Raises StorageFailed."""
        await self._travel(key)
        if key not in self.stored:
            raise StorageFailed
        return self.stored[key]

    async def remove(self, key: str) -> None:
        """Remove an object, unless it fails."""
        with suppress(StorageFailed):
            await self._travel(key)
            self.stored.pop(key, None)

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None] | None:
        """The bytes under a key, for who shows videos."""
        await asyncio.sleep(self._latency())
        content = self.stored.get(key)
        return None if content is None else _in_parts(content[offset:][:length])

    async def remove_all(self, folder: str, *, but: Collection[str] = ()) -> None:
        """Remove what is under a folder. Raises ServiceUnavailable."""
        for key in [key for key in self.stored if key.startswith(f"{folder}/") and key not in but]:
            try:
                await self._travel(key)
            except StorageFailed:
                raise ServiceUnavailable("the object store") from None
            self.stored.pop(key, None)

    async def _travel(self, key: str) -> None:
        await asyncio.sleep(self._latency())
        if self._rng.random() < self.fails:
            self._record(f"the object store fails: {key}")
            raise StorageFailed

    def _latency(self) -> float:
        return self._rng.expovariate(1 / 0.01)


async def _in_parts(content: bytes) -> AsyncGenerator[bytes, None]:
    yield content
