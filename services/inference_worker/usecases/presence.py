"""Whether anybody still cares about this worker."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.chassis.clock import Clock

_SHORTEST_NAP_SECONDS = 0.01


class Presence:
    """Remembers when a call was last heard; an open stream counts as being heard all the time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard_at = clock.monotonic()
        self._streams = 0

    def heard(self) -> None:
        """A call came in."""
        self._heard_at = self._clock.monotonic()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """A stream is open."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1
            self.heard()

    def silent_seconds(self) -> float:
        """How long nobody was there."""
        return 0.0 if self._streams else self._clock.monotonic() - self._heard_at

    async def until_silent_for(self, seconds: float) -> None:
        """Return once nobody was there for so long."""
        while (silent := self.silent_seconds()) < seconds:
            await self._clock.sleep(max(seconds - silent, _SHORTEST_NAP_SECONDS))
