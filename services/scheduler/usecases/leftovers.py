"""The loop that removes parts of objects that nobody finishes."""

from datetime import timedelta

import structlog

from services.chassis.errors import ServiceUnavailable
from services.scheduler.object_ports import UnfinishedPuts
from services.scheduler.ports import Clock

log = structlog.get_logger()

LOOK_SECONDS = 3600.0
"""How often it is looked for them."""
AGE = timedelta(hours=1)
"""A put that began so long ago goes on no more: each of its requests ends within a minute, or fails."""


class Leftovers:
    """Drops what puts in parts have left that were stopped on the way: a store keeps it, unseen, for ever."""

    def __init__(self, *, puts: UnfinishedPuts, clock: Clock) -> None:
        self._puts = puts
        self._clock = clock

    async def tidy(self) -> None:
        """Drop them until canceled."""
        while True:
            try:
                if count := await self._puts.abort(begun_before=self._clock.now() - AGE):
                    log.info("unfinished objects dropped", count=count)
            except ServiceUnavailable as error:
                log.warning("unfinished objects must wait", problem=error.message)
            await self._clock.sleep(LOOK_SECONDS)
