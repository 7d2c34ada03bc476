"""Images of requests, decoded in the processes of a darkroom while the event loop goes on."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from services.chassis.darkroom import Darkroom, Size
from services.chassis.images import ImageFile, file_of

AT_ONCE = 2
"""How many images are decoded at once; others wait for their turn."""
_REMEMBERED = 512

T = TypeVar("T")


class DarkroomImages:
    """ImageDecoding over a darkroom. Of images that were fine it remembers that, and not the image."""

    def __init__(self, darkroom: Darkroom | None = None, *, at_once: int = AT_ONCE) -> None:
        self._darkroom = darkroom or Darkroom(spares=at_once)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="darkroom")
        self._fine: OrderedDict[bytes, Size] = OrderedDict()

    async def __aenter__(self) -> "DarkroomImages":
        await self._on_a_thread(self._darkroom.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._darkroom.close)

    async def check(self, uri: str) -> None:
        """Decode the image in a data URI, unless that one was fine before."""
        await self._on_a_thread(lambda: self._size(file_of(uri)))

    async def size(self, file: ImageFile) -> Size:
        """Decode an image, unless that one was fine before."""
        return await self._on_a_thread(lambda: self._size(file))

    def _size(self, file: ImageFile) -> Size:
        key = hashlib.sha256(f"{file.media_type}\0".encode() + file.data).digest()
        if (known := self._fine.get(key)) is not None:
            return known
        size = self._fine[key] = self._darkroom.size(file)
        while len(self._fine) > _REMEMBERED:
            self._fine.popitem(last=False)
        return size

    async def _on_a_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
