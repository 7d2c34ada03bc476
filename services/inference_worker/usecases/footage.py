"""The frames of one attempt on their way to a video: encoded beside the device's work, stored piece by piece."""

from __future__ import annotations  # numpy is only a word here: the worker serves before it imports it

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from services.inference_worker.domain.errors import StorageFailed
from services.inference_worker.ports import Lane, ObjectStore, Recording

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = structlog.get_logger()


class Footage:
    """Takes frames in order. Calls `on_piece` with the pieces and frames that can be read by then.

    The video can do without its pieces: after one that could not be stored there are no more.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        encoding: Lane,
        objects: ObjectStore,
        folder: str,
        on_piece: Callable[[int, int], None],
    ) -> None:
        self._recording = recording
        self._encoding = encoding
        self._objects = objects
        self._folder = folder
        self._on_piece = on_piece
        self._waiting: asyncio.Queue[NDArray[np.uint8] | None] = asyncio.Queue()
        self._pieces = 0
        self._gave_up = False
        self._work = asyncio.create_task(self._encode_and_store())

    def take(self, frames: NDArray[np.uint8]) -> None:
        """Add frames; they are encoded when their turn comes."""
        self._waiting.put_nowait(frames)

    async def finish(self) -> bytes:
        """The whole file, once every frame is in it."""
        self._waiting.put_nowait(None)
        return await self._work

    def drop(self) -> None:
        """Forget it, unless it is finished; what was stored stays."""
        self._work.cancel()
        self._work.add_done_callback(lambda work: work.cancelled() or work.exception())

    async def _encode_and_store(self) -> bytes:
        while (frames := await self._waiting.get()) is not None:
            await self._store(await self._encoding.run(lambda frames=frames: self._recording.add(frames)))
        piece, whole = await self._encoding.run(self._recording.finish)
        await self._store(piece)
        return whole

    async def _store(self, piece: bytes) -> None:
        if not piece or self._gave_up:
            return
        try:
            await self._objects.put(piece_key(self._folder, self._pieces + 1), piece)
        except StorageFailed:
            log.warning("a piece could not be stored", folder=self._folder, piece=self._pieces + 1)
            self._gave_up = True
            return
        self._pieces += 1
        self._on_piece(self._pieces, self._recording.num_frames)


def piece_key(folder: str, number: int) -> str:
    """Where piece `number` of 1, 2, 3, … is kept."""
    return f"{folder}/pieces/{number:05}.mp4"
