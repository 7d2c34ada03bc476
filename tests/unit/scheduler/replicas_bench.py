"""Several schedulers on one PostgreSQL, in one process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import psycopg

from services.chassis.clock import SystemClock
from services.chassis.storage import Database, postgresql_database
from services.scheduler.__main__ import MIGRATIONS
from services.scheduler.adapters.fenced_database import FencedDatabase
from services.scheduler.adapters.postgresql_leadership import PostgresqlLeadership
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.adapters.sql_bulletins import SqlBulletinBoard
from services.scheduler.adapters.sql_store import SqlRenderStore
from services.scheduler.assembly import Replication, assembled
from tests.unit.scheduler.house_bench import House, parts_of

_schemas = count(1)


@dataclass
class Replica:
    """One process's part in leading. `deposed` is set once it was told that another one leads."""

    leadership: PostgresqlLeadership
    database: Database
    deposed: asyncio.Event = field(default_factory=asyncio.Event)
    heard: list[str | None] = field(default_factory=list)
    part: asyncio.Task[None] | None = None

    async def vanish(self) -> None:
        """End as a process does that is killed: it says nothing to anybody."""
        self.leadership._term = None
        await self.stop()

    async def stop(self) -> None:
        """End as a process does that is told to."""
        if self.part is not None:
            self.part.cancel()
            await asyncio.wait({self.part})


class Town:
    """Replicas that share a schema of the PostgreSQL at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.schema = f"of_replicas_{next(_schemas)}"
        self.workers = ScriptedWorkers()
        self._names = count(1)
        self._replicas: dict[int, Replica] = {}

    async def depose(self, house: House) -> None:
        """Have another one lead, while this one does not notice and goes on."""
        leadership = self._replicas[id(house)].leadership
        leadership._url = "postgresql://nobody@127.0.0.1:1/x"
        await self.end_session_of_leader()

    async def end_session_of_leader(self) -> None:
        """Break the connection that the leader says by that it lives."""
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            pid = f"SELECT pg_terminate_backend(session_pid) FROM {self.schema}.leadership"
            await connection.execute(pid.encode())

    def deposed(self, house: House) -> asyncio.Event:
        """Set once it was told that another one leads."""
        return self._replicas[id(house)].deposed

    @asynccontextmanager
    async def replica(self, address: str | None = None) -> AsyncIterator[Replica]:
        """One that takes part in leading, and does nothing else."""
        async with postgresql_database(self.url, self.schema, MIGRATIONS) as plain:
            found = self._replica(plain, address)
            found.part = asyncio.create_task(found.leadership.run(found.heard.append))
            try:
                yield found
            finally:
                await found.stop()

    @asynccontextmanager
    async def house(self, **more: Any) -> AsyncIterator[tuple[House, Replica]]:
        """A whole scheduler."""
        clock = SystemClock()
        async with postgresql_database(self.url, self.schema, MIGRATIONS) as plain:
            replica = self._replica(plain)
            database = replica.database
            store = SqlRenderStore(database, clock, outboxes=[replica.leadership.tell])
            replication = Replication(replica.leadership, store, SqlBulletinBoard(database))
            parts = parts_of(database, clock, self.workers, store=store, replication=replication, **more)
            async with assembled(**parts) as assembly:
                house = House(assembly, store, self.workers, clock)
                self._replicas[id(house)] = replica
                yield house, replica

    @asynccontextmanager
    async def pair(self, **more: Any) -> AsyncIterator[tuple[House, House]]:
        """The one that leads, and one that does not."""
        async with self.house(**more) as (leader, first):
            await within(10, first.leadership.gained())
            async with self.house(**more) as (follower, second):
                while second.leadership.leader is None:
                    await asyncio.sleep(0.01)
                yield leader, follower

    def _replica(self, plain: Database, address: str | None = None) -> Replica:
        deposed = asyncio.Event()
        address = address or f"127.0.0.1:{next(self._names)}"
        leadership = PostgresqlLeadership(self.url, self.schema, address, SystemClock(), on_deposed=deposed.set)
        return Replica(leadership, FencedDatabase(plain, lambda: leadership.term, deposed.set), deposed)


async def within(seconds: float, awaited: Any) -> Any:
    """What it gives, unless it takes longer."""
    async with asyncio.timeout(seconds):
        return await awaited
