"""Lanes that are threads."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class SerialThread:
    """A Lane whose work is always done on the same thread."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._busy = 0

    @property
    def is_busy(self) -> bool:
        """Whether work is under way or waits."""
        return self._busy > 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do `work` when its turn comes, in the caller's context. Canceling the wait does not stop work under way."""
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        self._busy += 1
        future = loop.run_in_executor(self._executor, context.run, work)
        future.add_done_callback(self._finished)
        return await asyncio.shield(future)

    def close(self) -> None:
        """Take no more work. What is under way goes on."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _finished(self, _future: object) -> None:
        self._busy -= 1
