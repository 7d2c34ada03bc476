"""Taking turns: a crowd that all wants to go on at once, and everybody else, who must not wait for it."""

import asyncio
from collections import deque

AT_ONCE = 16
"""So many go on in one pass of the event loop; whoever is not of the crowd waits for no more than these."""


class Turns:
    """Lets those who ask go on in the order they asked, a few in each pass of the event loop."""

    def __init__(self) -> None:
        self._line: deque[asyncio.Future[None]] = deque()
        self._left = AT_ONCE
        """How many may still go on in this pass."""

    async def take(self) -> None:
        """Return when it is one's turn: at once, where few ask."""
        loop = asyncio.get_running_loop()
        if self._left == AT_ONCE:
            loop.call_soon(self._pass)
        if self._left:
            self._left -= 1
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._line.append(turn)
        await turn

    def _pass(self) -> None:
        """The next pass: those in the line are first."""
        self._left = AT_ONCE
        while self._line and self._left:
            turn = self._line.popleft()
            if not turn.done():  # whoever waited for it has left
                turn.set_result(None)
                self._left -= 1
        if self._left < AT_ONCE:
            asyncio.get_running_loop().call_soon(self._pass)
