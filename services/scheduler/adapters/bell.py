"""Wake-up calls within one process."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class LocalListener:
    """One pair of ears. A ring while nobody waits is remembered."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Note a ring."""
        self._rung.set()

    async def heard(self, seconds: float) -> bool:
        """Return True once there was a ring since the last call, or False after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class LocalBell:
    """The bell of a scheduler that runs as one process."""

    def __init__(self) -> None:
        self._listeners: defaultdict[str, set[LocalListener]] = defaultdict(set)

    def ring(self, render_id: str) -> None:
        """Wake everybody who listens for the render."""
        for listener in self._listeners.get(render_id, ()):
            listener.ring()

    @contextmanager
    def listening(self, render_id: str) -> Iterator[LocalListener]:
        """Listen for a render's rings."""
        listener = LocalListener()
        self._listeners[render_id].add(listener)
        try:
            yield listener
        finally:
            self._listeners[render_id].discard(listener)
            if not self._listeners[render_id]:
                del self._listeners[render_id]
