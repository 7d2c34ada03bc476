"""Telling of events within one process: each event is kept once, whoever listens, and not for long."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from services.scheduler.domain.render import RenderEvent

KEPT_EVENTS = 64
"""So many events of a render are kept for those who listen. Who falls further behind has to ask the store."""


class LocalListener:
    """A place in what is told of one render."""

    def __init__(self, tale: "_Tale") -> None:
        self._tale = tale
        self._heard = tale.told

    async def next(self, seconds: float) -> RenderEvent | None:
        """The next event that was told, the newest where the next one is no longer kept; None after `seconds`."""
        if not await self._something(seconds):
            return None
        self._heard = self._heard + 1 if self._tale.keeps(self._heard) else self._tale.told
        return self._tale.before(self._heard)

    async def heard(self, seconds: float) -> bool:
        """True once something was told since the last call, False after `seconds`; takes what was told."""
        was_told = await self._something(seconds)
        self._heard = self._tale.told
        return was_told

    async def _something(self, seconds: float) -> bool:
        if self._heard == self._tale.told:
            loop = asyncio.get_running_loop()
            news: asyncio.Future[None] = loop.create_future()
            patience = loop.call_later(seconds, _end, news)
            self._tale.waiting[self] = news
            try:
                await news
            finally:
                del self._tale.waiting[self]
                patience.cancel()
        return self._heard < self._tale.told


class LocalBell:
    """The bell of a scheduler that runs as one process."""

    def __init__(self) -> None:
        self._tales: dict[str, _Tale] = {}

    def ring(self, render_id: str, event: RenderEvent) -> None:
        """Tell everybody who listens for the render. Nobody is waited for."""
        if tale := self._tales.get(render_id):
            tale.tell(event)

    def listened(self) -> Mapping[str, int]:
        """The renders somebody listens for, each with the number of the newest event that was told, 0 for none."""
        return {render_id: tale.newest for render_id, tale in self._tales.items()}

    @contextmanager
    def listening(self, render_id: str) -> Iterator[LocalListener]:
        """Listen for a render's events, from now on, while the block runs."""
        tale = self._tales.setdefault(render_id, _Tale())
        tale.listeners += 1
        try:
            yield LocalListener(tale)
        finally:
            tale.listeners -= 1
            if not tale.listeners:
                del self._tales[render_id]


class _Tale:
    """What was told of a render last, and who waits for more, in the order they came."""

    def __init__(self) -> None:
        self.told = 0
        self.newest = 0
        """The number of the newest event that was told."""
        self.listeners = 0
        self.waiting: dict[LocalListener, asyncio.Future[None]] = {}
        self._kept: deque[RenderEvent] = deque(maxlen=KEPT_EVENTS)

    def tell(self, event: RenderEvent) -> None:
        self._kept.append(event)
        self.told += 1
        self.newest = max(self.newest, event.seq)
        for news in self.waiting.values():
            _end(news)

    def keeps(self, place: int) -> bool:
        return self.told - place <= len(self._kept)

    def before(self, place: int) -> RenderEvent:
        return self._kept[place - self.told - 1]


def _end(news: asyncio.Future[None]) -> None:
    if not news.done():
        news.set_result(None)
