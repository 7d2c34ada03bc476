"""Watching renders: every event once and in order, signs of life between them, and nobody who slows a render."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from services.scheduler.domain.errors import RenderNotFound
from services.scheduler.domain.render import Render, RenderEvent, RenderStatus, snapshot
from services.scheduler.ports import Bell, Clock, Listener, RenderStore
from services.scheduler.usecases.meters import watching
from services.scheduler.usecases.turns import Turns

KEEP_ALIVE_SECONDS = 15.0
"""The longest time a watcher hears nothing, and after which somebody looks whether an event was missed."""
QUEUE_SECONDS = 5.0
"""How often a watcher of a queued render is told of its place, when that has changed."""
BATCH = 64
"""Events read at once: all that a watcher who is behind, or never reads, makes the service hold."""

T = TypeVar("T")
Stands = Callable[[Render], Awaitable[Render]]
"""Gives a render with its present place in the queue and the ETA that follows from it."""


class Watching:
    """Follows renders for any number of watchers: new events from the bell, those it cannot give from the store."""

    def __init__(self, *, store: RenderStore, bell: Bell, clock: Clock, stands: Stands) -> None:
        self._store = store
        self._bell = bell
        self._clock = clock
        self._stands = stands
        self._turns = Turns()
        self._watched: WeakValueDictionary[str, _Watched] = WeakValueDictionary()

    async def follow(self, render: Render, after_seq: int) -> AsyncGenerator[RenderEvent, None]:
        """The events after `after_seq`, then new ones until the last. Raises RenderNotFound, StoreUnavailable.

        While nothing happens, the newest state comes again at least every KEEP_ALIVE_SECONDS, as a keep-alive.
        """
        if render.is_final and after_seq >= render.last_seq:
            return
        if (watched := self._watched.get(render.id)) is None:
            watched = self._watched[render.id] = _Watched(render, self._store, self._clock, self._stands)
        newest, silent_seconds = snapshot(render, self._clock.now(), ""), 0.0
        with self._bell.listening(render.id) as listener, _counted():
            reader = _Reader(watched, listener, after_seq)
            while True:
                patience = QUEUE_SECONDS if newest.status is RenderStatus.QUEUED else KEEP_ALIVE_SECONDS
                if events := await reader.more(patience):
                    for event in events:
                        await self._turns.take()
                        yield event
                        if event.is_last:
                            return
                    newest, silent_seconds = events[-1], 0.0
                    continue
                silent_seconds += patience
                is_due = silent_seconds >= KEEP_ALIVE_SECONDS
                await self._turns.take()
                sign = await watched.sign(reader.seq, is_due=is_due)
                if sign.seq > reader.seq:
                    reader.is_behind = True
                elif is_due or sign.progress != newest.progress:
                    newest, silent_seconds = sign, 0.0
                    await self._turns.take()
                    yield sign

    async def until_settled(self, render: Render, seconds: float) -> Render:
        """The render once it is settled, or as it is after `seconds`. Raises RenderNotFound, StoreUnavailable."""
        deadline = self._clock.monotonic() + seconds
        with self._bell.listening(render.id) as listener:
            render = await _again(render, self._store)
            while not render.is_settled and (left := deadline - self._clock.monotonic()) > 0:
                event = await listener.next(min(left, KEEP_ALIVE_SECONDS))
                if event is None or event.is_last or event.status is RenderStatus.PAUSED:
                    render = await _again(render, self._store)
            return render


@contextmanager
def _counted() -> Iterator[None]:
    watching(1)
    try:
        yield
    finally:
        watching(-1)


class _Reader:
    """A watcher's place in a log. `seq` is the newest event it has; `is_behind` when the store may have more."""

    def __init__(self, watched: "_Watched", listener: Listener, seq: int) -> None:
        self.seq = seq
        self.is_behind = True
        self._watched = watched
        self._listener = listener

    async def more(self, seconds: float) -> Sequence[RenderEvent]:
        """The next events; none when nothing was told for `seconds`."""
        while True:
            if self.is_behind:
                events = await self._watched.events(self.seq)
                self.is_behind = len(events) == BATCH
            elif (event := await self._listener.next(seconds)) is None:
                return ()
            else:
                events = [event] if event.seq == self.seq + 1 else []  # it may be told twice, or others were missed
                self.is_behind = event.seq > self.seq + 1
            if events:
                self.seq = events[-1].seq
                return events


class _Watched:
    """What those who watch a render share: whatever several of them want to know at a time is asked once."""

    def __init__(self, render: Render, store: RenderStore, clock: Clock, stands: Stands) -> None:
        self._render = render
        self._store = store
        self._clock = clock
        self._stands = stands
        self._must_look = False
        self._sign = _Question(self._look)
        self._reads: WeakValueDictionary[int, _Question[Sequence[RenderEvent]]] = WeakValueDictionary()

    async def events(self, after_seq: int) -> Sequence[RenderEvent]:
        """The next events of the log."""
        if (read := self._reads.get(after_seq)) is None:
            read = self._reads[after_seq] = _Question(lambda: self._read(after_seq))
        return await read.answer()

    async def sign(self, seq: int, *, is_due: bool) -> RenderEvent:
        """A sign of life for a watcher who has the events up to `seq`. One that is due comes from the store."""
        self._must_look |= is_due or self._render.last_seq != seq
        return await self._sign.answer()

    async def _read(self, after_seq: int) -> Sequence[RenderEvent]:
        return await self._store.events(self._render.id, after_seq, BATCH)

    async def _look(self) -> RenderEvent:
        if self._must_look:
            self._must_look = False
            self._render = await _again(self._render, self._store)
        return replace(snapshot(await self._stands(self._render), self._clock.now(), ""), keep_alive=True)


class _Question(Generic[T]):
    """A question that many have at the same time. Nobody gets an answer that is older than his question."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._ask = ask
        self._being_asked: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def answer(self) -> T:
        """Ask, together with all who do so before it is asked."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._being_asked))
        return await asyncio.shield(self._next)  # who leaves does not take it from the others

    async def _after(self, other: "asyncio.Task[T] | None") -> T:
        if other is not None:
            await asyncio.wait({other})
        self._being_asked, self._next = self._next, None
        return await self._ask()


async def _again(render: Render, store: RenderStore) -> Render:
    found = await store.get(render.account, render.id)
    if found is None:
        raise RenderNotFound(render.id)
    return found
