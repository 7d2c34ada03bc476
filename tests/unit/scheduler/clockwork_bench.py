"""A scheduler on time that passes only when nothing is left to do, which can be killed and started again."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlalchemy.pool import StaticPool

from services.chassis.storage import Database, StoreUnavailable, Transaction
from services.chassis.storage.migrating import upgrade
from services.chassis.storage.sqlite import sqlite_engine
from services.chassis.tasks import uninterrupted
from services.scheduler.__main__ import MIGRATIONS
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.assembly import assembled
from services.scheduler.domain.errors import RuntimeStartFailed, WorkerLost
from services.scheduler.domain.fleet import Slot
from services.scheduler.ports import Version
from tests.simulation.virtual_time import Ids, SimulatedClock, VirtualLoop
from tests.unit.scheduler.house_bench import House, parts_of

T = TypeVar("T")

LATENCY_SECONDS = 0.002
"""How long one way to the database takes, so that others get a word in."""


class Wires:
    """What one scheduler reaches its workers by. Nothing it does counts any more once they are cut."""

    def __init__(self, workers: ScriptedWorkers) -> None:
        self._workers = workers
        self.are_cut = False

    async def launch(self, runtime_id: str, slot: Slot) -> Any:
        if self.are_cut:
            raise RuntimeStartFailed("cut off")
        return await self._workers.launch(runtime_id, slot)

    async def is_alive(self, runtime_id: str, process: Any) -> bool:
        return await self._workers.is_alive(runtime_id, process)

    async def terminate(self, runtime_id: str, process: Any, *, kindly: bool = True) -> None:
        if not self.are_cut:
            await self._workers.terminate(runtime_id, process, kindly=kindly)

    async def load(self, address: str, version: Version) -> AsyncGenerator[Any, None]:
        async for moment in self._workers.load(address, version):
            self._check()
            yield moment

    async def render(self, address: str, assignment: Any, after_seq: int) -> AsyncGenerator[Any, None]:
        self._check()
        async for moment in self._workers.render(address, assignment, after_seq):
            self._check()
            yield moment

    async def cancel(self, address: str, render_id: str, epoch: int) -> None:
        self._check()
        await self._workers.cancel(address, render_id, epoch)

    async def state(self, address: str) -> Any:
        self._check()
        return await self._workers.state(address)

    def _check(self) -> None:
        if self.are_cut:
            raise WorkerLost


class Disk(Database):
    """One scheduler's way to the database in memory that outlives it. It may be away for a while, or for ever."""

    def __init__(self, engine: Engine) -> None:
        self.is_away = False
        self._engine = engine
        self._turn = asyncio.Lock()

    async def write(self, transaction: Transaction[T]) -> T:
        return await uninterrupted(self._in_turn(transaction))

    async def read(self, transaction: Transaction[T]) -> T:
        return await uninterrupted(self._transact(transaction))

    def close(self) -> None:
        """The engine is the test's."""

    async def _in_turn(self, transaction: Transaction[T]) -> T:
        async with self._turn:
            return await self._transact(transaction)

    async def _transact(self, transaction: Transaction[T]) -> T:
        await asyncio.sleep(LATENCY_SECONDS)
        if self.is_away:
            raise StoreUnavailable
        with self._engine.begin() as connection:
            result = transaction(connection)
        await asyncio.sleep(LATENCY_SECONDS)
        return result


@dataclass
class Clockwork(House):
    """A house on virtual time. Whoever waits in it waits no real time."""

    patience_seconds: float = 100_000.0
    disk: Disk = field(kw_only=True)
    wires: Wires = field(kw_only=True)

    def crash(self) -> None:
        """The scheduler is dead: whatever it still does changes nothing."""
        self.disk.is_away = self.wires.are_cut = True

    async def settle(self) -> None:
        """Let everybody do what is left to do now."""
        await asyncio.sleep(0.5)

    def in_seconds(self, seconds: float) -> str:
        """A moment as a client writes it."""
        return (self.clock.now() + timedelta(seconds=seconds)).isoformat()


class ClockworkTown:
    """Where clockworks are opened one after the other, as restarts of one scheduler."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._engine = sqlite_engine("", begin="BEGIN IMMEDIATE", poolclass=StaticPool)
        self._new_id = Ids()
        self._monotonic_base = 0.0

    def __enter__(self) -> "ClockworkTown":
        with self._engine.begin() as connection:
            upgrade(connection, MIGRATIONS)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._engine.dispose()

    @asynccontextmanager
    async def open(self, workers: ScriptedWorkers | None = None, **more: Any) -> AsyncIterator[Clockwork]:
        self._monotonic_base += 1_000_000.0
        clock = SimulatedClock(self._loop, self._monotonic_base)
        workers = workers or ScriptedWorkers()
        disk, wires = Disk(self._engine), Wires(workers)
        more.setdefault("new_id", self._new_id)
        parts = parts_of(disk, clock, wires, **more)
        async with assembled(**parts) as assembly:
            yield Clockwork(assembly, parts["store"], workers, disk=disk, wires=wires, clock=clock)
        assert not self._loop.errors, f"nobody waited for {self._loop.errors[0]}"
