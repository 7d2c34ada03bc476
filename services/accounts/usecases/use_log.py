"""When keys were used."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import structlog

from services.accounts.domain import ApiKey
from services.accounts.ports import KeyStore
from services.chassis.clock import Clock

log = structlog.get_logger()


class UseLog:
    """Remembers when keys were used, to the minute, and writes it down beside the checks, never within one."""

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._written: dict[str, datetime] = {}
        self._waiting: dict[str, datetime] = {}
        self._news = asyncio.Event()

    def note(self, key: ApiKey) -> None:
        """Remember that `key` was accepted now."""
        minute = self._clock.now().replace(second=0, microsecond=0)
        if self._written.get(key.id, key.last_used_at) != minute:
            self._waiting[key.id] = minute
            self._news.set()

    @asynccontextmanager
    async def kept_written(self) -> AsyncIterator["UseLog"]:
        """Write what is noted while the block runs, and what is left at its end."""
        writer = asyncio.create_task(self._write_for_ever())
        try:
            yield self
        finally:
            writer.cancel()
            await asyncio.wait([writer])
            await self.flush()

    async def _write_for_ever(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self.flush()
            except Exception:  # what was noted stays noted: the next use writes it too
                log.exception("uses of keys could not be written")

    async def flush(self) -> None:
        """Write down what was noted since the last time."""
        if uses := dict(self._waiting):
            await self._store.mark_used(uses)
            self._written |= uses
            self._waiting = {key: minute for key, minute in self._waiting.items() if uses.get(key) != minute}
