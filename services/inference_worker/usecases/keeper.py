"""What an attempt puts into the object store: in passing what its video can do without, insistently what it cannot."""

import asyncio
from dataclasses import replace

import structlog

from services.chassis.clock import Clock
from services.inference_worker.domain.attempt import Kept
from services.inference_worker.domain.errors import StorageFailed
from services.inference_worker.ports import ObjectStore
from services.inference_worker.usecases.patience import ended_within

log = structlog.get_logger()

PREVIEW_KEY, CHECKPOINT_KEY, THUMBNAIL_KEY = "preview_key", "checkpoint_key", "thumbnail_key"
"""Fields of `Kept` that hold a key."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 10.0
_SETTLING_SECONDS = 5.0


class Keeper:
    """Keeps the files of one attempt. Lives on the event loop."""

    def __init__(self, folder: str, *, objects: ObjectStore, clock: Clock, patience_seconds: float) -> None:
        self.kept = Kept()
        """What can be read by now."""
        self.is_insisting = False
        """Whether the attempt waits for the object store."""
        self._folder = folder
        self._objects = objects
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._waiting: dict[str, tuple[str, bytes]] = {}
        self._storing: asyncio.Task[None] | None = None

    def note_pieces(self, pieces: int, playable_seconds: float) -> None:
        """So many pieces, which last so long, were stored."""
        self.kept = replace(self.kept, pieces=pieces, playable_seconds=playable_seconds)

    def keep_in_passing(self, field: str, key: str, content: bytes) -> None:
        """Store something the video can do without. What waits gives way to what is newer of its field."""
        self._waiting[field] = (key, content)
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store_what_waits())

    async def settle(self) -> None:
        """Wait for what is stored in passing; what takes long is given up."""
        if self._storing is not None and not await ended_within(_SETTLING_SECONDS, [self._storing], self._clock):
            self._waiting.clear()
            self._storing.cancel()

    async def leave_behind(self, field: str, key: str, content: bytes) -> None:
        """Store what somebody will go on from, and nothing older after it. Raises StorageFailed as `insist` does."""
        self._waiting.clear()
        await self.settle()
        await self.insist(key, content)
        self.kept = replace(self.kept, **{field: key})

    async def insist(self, key: str, content: bytes) -> None:
        """Store something that must not be missing; a store that refuses is asked again until patience is over.

        Raises StorageFailed then.
        """
        give_up_at = self._clock.monotonic() + self._patience_seconds
        pause_seconds = _FIRST_PAUSE_SECONDS
        self.is_insisting = True
        try:
            while not await self._is_taken(key, content):
                left_seconds = give_up_at - self._clock.monotonic()
                if left_seconds <= 0:
                    raise StorageFailed
                log.warning("the object store is asked again", folder=self._folder, left_seconds=left_seconds)
                await self._clock.sleep(min(pause_seconds, left_seconds))
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
        finally:
            self.is_insisting = False

    async def _store_what_waits(self) -> None:
        while self._waiting:
            field = next(iter(self._waiting))  # they take turns, so that a slow store gets checkpoints too
            key, content = self._waiting.pop(field)
            if await self._is_taken(key, content):
                self.kept = replace(self.kept, **{field: key})
            else:
                log.warning("not kept", folder=self._folder, field=field)

    async def _is_taken(self, key: str, content: bytes) -> bool:
        try:
            await self._objects.put(key, content)
        except StorageFailed:
            return False
        return True
