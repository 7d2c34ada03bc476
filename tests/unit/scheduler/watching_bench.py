"""A stage: one render in the real store that a test moves, and what watches it."""

import asyncio
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

from services.scheduler.adapters.bell import LocalBell
from services.scheduler.adapters.sql_store import SqlRenderStore
from services.scheduler.domain.facts import Phase, Progress
from services.scheduler.domain.render import Render, RenderEvent, RenderStatus
from services.scheduler.ports import Written
from services.scheduler.usecases.watching import Watching
from tests.simulation.database import Disk, SimulatedDatabase
from tests.simulation.record import Record
from tests.simulation.virtual_time import SimulatedClock, VirtualLoop


class CountingStore(SqlRenderStore):
    """The real store, and how often it was asked for what."""

    def __init__(self, *args):
        super().__init__(*args)
        self.asked = Counter()

    async def events(self, render_id, after_seq, limit):
        self.asked["events"] += 1
        return await super().events(render_id, after_seq, limit)

    async def get(self, account, render_id):
        self.asked["get"] += 1
        return await super().get(account, render_id)


@dataclass
class Stage:
    """A render that a test moves, and what watches it."""

    store: CountingStore
    bell: LocalBell
    clock: SimulatedClock
    render: Render
    position: int = 1
    log: list[RenderEvent] = field(default_factory=list)

    def __post_init__(self):
        self.watching = Watching(store=self.store, bell=self.bell, clock=self.clock, stands=self.stands)

    async def stands(self, render):
        if render.status is not RenderStatus.QUEUED:
            return render
        return replace(render, progress=Progress(queue_position=self.position))

    def follow(self, after_seq=0):
        return self.watching.follow(self.render, after_seq)

    async def collected(self, after_seq=0):
        """What a watcher gets to the end, as (seq, is a keep-alive)."""
        async with aclosing(self.follow(after_seq)) as events:
            return [(event.seq, event.keep_alive) async for event in events]

    def watcher(self, after_seq=0):
        """A watcher who has begun, as a task."""
        return asyncio.create_task(self.collected(after_seq))

    async def store_change(self, change, message="changed"):
        written = await self.store.advance(self.render.id, change, message)
        assert isinstance(written, Written)
        self.render = written.render
        self.log.append(written.event)
        return written.event

    async def change(self, change):
        """Store a change and tell of it."""
        self.bell.ring(self.render.id, await self.store_change(change))

    async def step(self, count=1):
        for _ in range(count):
            await self.change(lambda render: replace(render, worker_seq=render.worker_seq + 1))

    async def end(self):
        await self.change(self.ended)

    def ended(self, render):
        is_queued = render.status is RenderStatus.QUEUED
        return render.ended(RenderStatus.EXPIRED if is_queued else RenderStatus.FAILED, self.clock.now())

    async def fill(self, count):
        """Store steps in silence."""
        for _ in range(count):
            await self.store_change(lambda render: replace(render, worker_seq=render.worker_seq + 1))

    async def run(self):
        await self.change(lambda render: replace(render, status=RenderStatus.RUNNING, phase=Phase.DENOISING))

    async def settle(self):
        await asyncio.sleep(0.2)


async def a_stage(loop: VirtualLoop, render: Render) -> Stage:
    """A stage for a render that has just been accepted, on virtual time."""
    clock = SimulatedClock(loop, 1000.0)
    store = CountingStore(SimulatedDatabase(Disk(Random(0), Record(loop.time))), clock)
    accepted = await store.accept(render, {}, "accepted", keys_since=clock.now() - timedelta(days=1))
    assert isinstance(accepted, Written)
    return Stage(store, LocalBell(), clock, accepted.render, log=[accepted.event])
