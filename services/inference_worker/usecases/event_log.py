"""Events of something that runs once, for any number of followers, whenever they come."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

Event = TypeVar("Event")


class EventLog(Generic[Event]):
    """Keeps every event until it is dropped as a whole. A slow follower holds nobody up."""

    def __init__(self) -> None:
        self._events: list[Event] = []
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
        self._events.append(event)
        self._closed = last
        self._news.set()
        self._news = asyncio.Event()

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
