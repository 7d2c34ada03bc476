"""One start of a runtime, followed by whoever waits for it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine

from services.scheduler.domain.errors import RuntimeStartFailed
from services.scheduler.ports import Clock, LoadMoment


class Start:
    """Moments of a start, kept for those who come late, and its outcome."""

    def __init__(self, clock: Clock, on_moment: Callable[[LoadMoment], None]) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._on_moment = on_moment
        self._moments: list[LoadMoment] = []
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def run(self, work: Coroutine[None, None, None]) -> None:
        """Begin the start."""
        self._task = asyncio.create_task(work)
        self._task.add_done_callback(self._done)

    def tell(self, moment: LoadMoment) -> None:
        """Add a moment."""
        self._moments.append(moment)
        self._on_moment(moment)
        self._ring()

    def begin_to_count(self) -> None:
        """The start begins only now: what came before was waiting for the slot."""
        self._began = self._clock.monotonic()

    def abandon(self) -> None:
        """Give the start up; those who wait see it fail."""
        if self._task is not None:
            self._task.cancel()

    async def over(self) -> None:
        """Return once nothing of it is under way any more, however it ended."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def elapsed_ms(self) -> int:
        """How long the start has taken so far."""
        return round((self._clock.monotonic() - self._began) * 1000)

    async def moments(self, every_seconds: float) -> AsyncGenerator[LoadMoment | None, None]:
        """Every moment from the first, None after each `every_seconds` of silence.

        Ends when the start succeeded, raises RuntimeStartFailed when it did not.
        """
        assert self._task is not None, "run() comes first"  # noqa: S101 — an internal order, not an input
        told = 0
        while True:
            while told < len(self._moments):
                yield self._moments[told]
                told += 1
            if self._task.done():
                break
            news = self._news
            try:
                async with asyncio.timeout(every_seconds):
                    await news.wait()
            except TimeoutError:
                yield None
        if self._task.cancelled():
            raise RuntimeStartFailed("it was stopped", retry=True)
        if error := self._task.exception():
            raise error

    def _ring(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # retrieved here, so that a start nobody waits for fails in silence
        self._ring()
