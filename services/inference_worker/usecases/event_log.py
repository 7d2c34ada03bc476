"""Events of something that runs once, for any number of followers, whenever they come."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from services.chassis.clock import Clock

QUIET_SECONDS = 4.0
"""The longest time without an event; the contract promises one every five."""

_SHORTEST_NAP_SECONDS = 0.01

Event = TypeVar("Event")


class EventLog(Generic[Event]):
    """Keeps every event until it is dropped as a whole. A slow follower holds nobody up."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: list[Event] = []
        self._told_at = clock.monotonic()
        self._news = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._events)

    @property
    def is_closed(self) -> bool:
        """Whether the last event is there."""
        return self._closed

    def append(self, event: Event, *, last: bool = False) -> None:
        """Add an event; nothing follows the `last` one."""
        if self._closed:
            raise RuntimeError("nothing follows the last event")
        self._events.append(event)
        self._told_at = self._clock.monotonic()
        self._closed = last
        self._news.set()
        self._news = asyncio.Event()

    @contextmanager
    def kept_alive(self, again: Callable[[], Event]) -> Iterator[None]:
        """During the block, add what `again` makes whenever nothing was told for QUIET_SECONDS, up to the end."""
        repeating = asyncio.create_task(self._repeat(again))
        try:
            yield
        finally:
            repeating.cancel()

    async def follow(self, after: int = 0) -> AsyncGenerator[Event, None]:
        """The events after the first `after`, as they come, up to the last one."""
        position = max(0, after)
        while True:
            news = self._news
            while position < len(self._events):
                yield self._events[position]
                position += 1
            if self._closed:
                return
            if news is self._news:
                await news.wait()

    async def _repeat(self, again: Callable[[], Event]) -> None:
        while not self._closed:
            quiet_seconds = self._clock.monotonic() - self._told_at
            if quiet_seconds >= QUIET_SECONDS:
                self.append(again())
            else:
                await self._clock.sleep(max(QUIET_SECONDS - quiet_seconds, _SHORTEST_NAP_SECONDS))
