"""How long a broken connection is tried again, how often, and what people are told of it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from forge_cli import words
from forge_cli.failures import CommandFailed

PATIENCE_SECONDS = 120.0
_PAUSES_SECONDS = (0.1, 0.3, 1.0, 2.0)
_QUIET_FAILURES = 2  # a restart is often over before anybody needs to know


class Patience:
    """Bears a connection that is broken, for `seconds` on end: PATIENCE_SECONDS where none are given.

    `say` is told once when a break lasts, and when it is over. `clock` gives seconds that only grow, `draw` numbers
    from 0 to 1 that keep many clients from coming back at the same moment.
    """

    def __init__(
        self,
        say: Callable[[str], None] = lambda _: None,
        *,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._say = say
        self._seconds = PATIENCE_SECONDS if seconds is None else seconds
        self._clock = clock
        self._sleep = sleep
        self._draw = draw
        self._broken_since: float | None = None
        self._failures = 0

    def heard(self) -> None:
        """Note that the connection works."""
        if self._failures > _QUIET_FAILURES:
            self._say("connected again")
        self._broken_since, self._failures = None, 0

    async def bear(self, trouble: CommandFailed) -> None:
        """Note that it does not, and return when it is time to try again. Raises `trouble` when that was in vain."""
        now = self._clock()
        if self._broken_since is None:
            self._broken_since = now
        left = self._broken_since + self._seconds - now
        if left <= 0:
            raise trouble
        if self._failures == _QUIET_FAILURES:
            self._say(f"{trouble.message}; trying again for {words.seconds(left)}")
        pause = _PAUSES_SECONDS[min(self._failures, len(_PAUSES_SECONDS) - 1)] * (0.5 + self._draw())
        self._failures += 1
        await self._sleep(min(pause, left))
