"""The picture that stands for a video, taken from among its frames as they pass by."""

from __future__ import annotations  # numpy is only a word here: the worker serves before it imports it

import asyncio
from typing import TYPE_CHECKING

from services.inference_worker.ports import Lane, PictureEncoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDTH_PX = 480
"""As wide as it is at most."""


class Still:
    """Takes the frames of one attempt in order, and makes a picture of the one after the first third of them."""

    def __init__(self, num_frames: int, *, pictures: PictureEncoder, encoding: Lane) -> None:
        self._left = num_frames // 3
        """Frames that pass before it."""
        self._pictures = pictures
        self._encoding = encoding
        self._work: asyncio.Task[bytes] | None = None

    def take(self, frames: NDArray[np.uint8]) -> None:
        """Look at the next frames."""
        if self._work is None and self._left < len(frames):
            frame = frames[self._left]
            self._work = asyncio.create_task(self._encoding.run(lambda: self._pictures.encode(frame, WIDTH_PX)))
        self._left -= len(frames)

    async def picture(self) -> bytes:
        """The file, once every frame has passed; empty when there is none."""
        return await self._work if self._work else b""

    def drop(self) -> None:
        """Forget it, unless it is finished."""
        if self._work is not None:
            self._work.cancel()
            self._work.add_done_callback(lambda work: work.cancelled() or work.exception())
