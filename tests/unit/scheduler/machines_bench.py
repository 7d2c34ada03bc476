"""A cluster whose machines come and go as a test says, and a fleet of slots on them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from services.scheduler.domain.fleet import Fleet, Machine, Requirements, Slot
from tests.unit.scheduler.house_bench import H200, L40S

NORTH = Requirements((("zone", "north"),), (("GPU", 1.0),))
SOUTH = Requirements((("zone", "south"),), (("GPU", 1.0),))
FLEET = Fleet(
    "test",
    (
        Slot("n0", H200, "cuda:0", 141, NORTH),
        Slot("n1", H200, "cuda:0", 141, NORTH),
        Slot("s0", L40S, "cuda:0", 48, SOUTH),
    ),
)


def machine(zone: str, gpus: float = 1.0, **more: str) -> Machine:
    return Machine({"zone": zone, **more}, {"GPU": gpus, "CPU": 8.0})


class Machines:
    """A cluster, as a test has it."""

    def __init__(self, *there: Machine) -> None:
        self._there: Sequence[Machine] = there
        self._news = asyncio.Event()

    def are(self, *there: Machine) -> None:
        self._there = there
        self._news.set()
        self._news = asyncio.Event()

    async def machines(self) -> AsyncGenerator[Sequence[Machine], None]:
        while True:
            news = self._news
            yield self._there
            await news.wait()
