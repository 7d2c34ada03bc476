"""Taking spans without making anybody wait, writing them in batches, and finding those of a render."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import structlog

from services.chassis.clock import Clock
from services.chassis.storage import StoreUnavailable
from services.chassis.tasks import in_background, set_or_after
from services.traces.domain import FoundSpans, Retention, Span, of_render
from services.traces.ports import Meters, SpanStore

log = structlog.get_logger()

WRITE_SECONDS = 0.5
"""How long spans wait for others to be written with."""
PRUNE_SECONDS = 60.0
MOST_WAITING = 50_000
"""So many spans may wait to be written; more are dropped. About 25 MB."""


class SpanBook:
    """The spans that were told of."""

    def __init__(self, store: SpanStore, *, retention: Retention, meters: Meters, clock: Clock) -> None:
        self._store = store
        self._retention = retention
        self._meters = meters
        self._clock = clock
        self._waiting: list[Span] = []
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()
        self._is_away = False

    def take(self, spans: Sequence[Span]) -> None:
        """Keep spans soon. Returns at once: whoever tells of them has other things to do."""
        room = max(0, MOST_WAITING - len(self._waiting))
        self._waiting += spans[:room]
        if len(spans) > room:
            self._meters.dropped(len(spans) - room, "too_many")
        self._news.set()

    async def of_render(self, trace_id: str, render_id: str) -> FoundSpans:
        """What is known of a render by now, what was told a moment ago included. StoreUnavailable."""
        await self._write_all()
        found = await self._store.trace(trace_id)
        return FoundSpans(of_render(found.spans, render_id), found.is_cut)

    @asynccontextmanager
    async def kept_written(self, *, on_failure: Callable[[], None]) -> AsyncIterator[None]:
        """Write what was taken, and forget what is too old, until the block ends; then write the rest."""
        async with (
            in_background(self._keep(), on_failure=on_failure),
            in_background(self._prune(), on_failure=on_failure),
        ):
            yield
        await self._write_all()

    async def _keep(self) -> None:
        while True:
            await self._news.wait()
            await self._clock.sleep(WRITE_SECONDS)
            self._news.clear()
            await self._write_all()

    async def _write_all(self) -> None:
        async with self._writing:
            spans, self._waiting = self._waiting, []
            if not spans:
                return
            try:
                await self._store.add(spans, self._clock.now())
            except StoreUnavailable:
                self._meters.dropped(len(spans), "store_unavailable")
                if not self._is_away:
                    log.warning("spans are dropped: the store is not available")
                self._is_away = True
            else:
                self._meters.kept(len(spans))
                self._is_away = False

    async def _prune(self) -> None:
        never = asyncio.Event()
        while True:
            try:
                if forgotten := await self._store.prune(self._retention, self._clock.now()):
                    log.info("traces forgotten", traces=forgotten)
            except StoreUnavailable:
                log.warning("nothing forgotten: the store is not available")
            await set_or_after(never, self._clock, PRUNE_SECONDS)
