"""The machine the scheduler runs on: its process, and a supervisor that starts it again."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from random import Random

from services.chassis.storage import StoreUnavailable
from services.scheduler.assembly import Assembly
from services.scheduler.usecases.scheduler import Scheduler
from tests.simulation.network import NoAnswer
from tests.simulation.processes import Process
from tests.simulation.record import Record
from tests.simulation.virtual_time import SimulatedClock, VirtualLoop

NAME = "scheduler"
Assemble = Callable[[SimulatedClock, Callable[[], None]], AbstractAsyncContextManager[Assembly]]
"""Wires a scheduler with a clock; calls back when its own work fails."""


class SchedulerHost:
    """Keeps one scheduler process running. Every start has clocks of its own; the wall clock keeps how wrong it is."""

    def __init__(self, loop: VirtualLoop, rng: Random, record: Record, assemble: Assemble) -> None:
        self.processes: list[Process] = []
        """All there were; the last one may still live."""
        self.clock = SimulatedClock(loop, 0.0)
        self.started_at = 0.0
        self.has_missed_time = False
        """Whether its wall clock ever jumped, or went on while it stood still."""
        self.surprises: list[str] = []
        """What it ended of, when nobody ended it."""
        self.restart_seconds = 1.0
        self._loop = loop
        self._rng = rng
        self._record = record
        self._assemble = assemble
        self._assembly: Assembly | None = None

    async def supervise(self) -> None:
        """Start the scheduler, and again whenever it is gone."""
        while True:
            self.clock = SimulatedClock(self._loop, self._rng.uniform(0.0, 1e6), self.clock.skew_seconds)
            process, self.started_at = Process(self._loop, NAME), self._loop.time()
            self.processes.append(process)
            process.spawn(self._serve(process, self.clock))
            await asyncio.shield(process.died)
            self._assembly = None
            self._record(f"the scheduler is gone; the next one starts in {self.restart_seconds:.1f} s")
            await asyncio.sleep(self.restart_seconds)

    @property
    def process(self) -> Process | None:
        """The process that lives now."""
        newest = self.processes[-1] if self.processes else None
        return newest if newest and newest.is_alive else None

    def api(self) -> Scheduler:
        """What its clients can ask. Raises NoAnswer while it does not serve."""
        if self._assembly is None:
            raise NoAnswer("the scheduler does not serve")
        return self._assembly.scheduler

    def stop(self) -> None:
        """Tell it to stop."""
        if self.process is not None and self._assembly is not None:
            self._record("the scheduler is told to stop")
            self.process.stop()

    def jump(self, seconds: float) -> None:
        """Let its wall clock jump."""
        self._record(f"the scheduler's wall clock jumps by {seconds:.0f} s")
        self.has_missed_time = True
        self.clock.skew_seconds += seconds

    async def _serve(self, process: Process, clock: SimulatedClock) -> None:
        try:
            async with self._assemble(clock, process.told_to_stop.set) as self._assembly:
                self._record("serves")
                await process.told_to_stop.wait()
                self._assembly = None
            self._record("ends")
        except StoreUnavailable:
            self._record("ends: the store is not available")
        except Exception as error:
            self.surprises.append(f"the scheduler ended: {type(error).__name__}: {error}")
        process.kill()
