"""Keeping what this process has in memory in step with what other replicas write."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from services.chassis.storage import StoreUnavailable
from services.scheduler.domain.render import Render, RenderStatus
from services.scheduler.ports import Bell, Clock
from services.scheduler.replica_ports import SharedRenders
from services.scheduler.usecases.bulletins import Bulletins
from services.scheduler.usecases.queue import Queue

log = structlog.get_logger()

COMPARE_SECONDS = 1.0
"""How often the queue is compared with the store, and a bulletin is put up or read."""
RING_SECONDS = 0.25
"""How often it is looked for events that others wrote, of renders that are watched here."""
GATHER_SECONDS = 0.02
"""So long others' news are gathered to be looked up together."""
SHARE = 0.04
"""The most of this process's time that looking takes: the more there is, the rarer it is looked."""


class InStep:
    """Others tell of what cannot wait; what they did not tell, or was not heard, is found in the store."""

    def __init__(
        self,
        *,
        renders: SharedRenders,
        queue: Queue,
        bell: Bell,
        bulletins: Bulletins,
        clock: Clock,
        on_queued: Callable[[], None],
        cancel: Callable[[str], None],
    ) -> None:
        """`cancel` tells the attempt of a render, if it runs here, that the render is to end."""
        self._renders = renders
        self._queue = queue
        self._bell = bell
        self._bulletins = bulletins
        self._clock = clock
        self._on_queued = on_queued
        self._cancel = cancel
        self._heard_of: set[str] = set()
        self._news = asyncio.Event()

    def hear_of(self, render_id: str | None) -> None:
        """Somebody else has queued a render or is canceling it; None when that may have been missed."""
        if render_id is not None:
            self._heard_of.add(render_id)
        self._news.set()

    async def listen(self) -> None:
        """Look up what was heard of until canceled."""
        while True:
            await self._news.wait()
            self._news.clear()
            heard_of, self._heard_of = self._heard_of, set()
            try:
                for render in await self._renders.found(heard_of):
                    self._note(render)
            except StoreUnavailable:
                log.warning("news of others not looked up: the store is not available")
            await self._clock.sleep(GATHER_SECONDS)

    async def compare(self) -> None:
        """Compare with the store until canceled."""
        await self._keep(self._compare, COMPARE_SECONDS)

    async def ring(self) -> None:
        """Tell those who watch of events that others wrote, until canceled."""
        await self._keep(self._ring_for_others, RING_SECONDS)

    async def _keep(self, look: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            began = self._clock.monotonic()
            try:
                await look()
            except StoreUnavailable:
                log.warning("not in step with others: the store is not available")
            await self._clock.sleep(max(seconds, (self._clock.monotonic() - began) / SHARE))

    async def _compare(self) -> None:
        await self._compare_queue()
        await self._bulletins.exchange()

    def _note(self, render: Render) -> None:
        waits = render.status is RenderStatus.QUEUED
        if waits or render.id in self._queue:
            self._queue.note(render, waits=waits)
        if waits:
            self._on_queued()
        elif render.status is RenderStatus.CANCELING:
            self._cancel(render.id)

    async def _compare_queue(self) -> None:
        """What was queued here since the question was asked is not in its answer, and stays."""
        before = self._queue.ids()
        stored = set(await self._renders.queued_ids())
        for render_id in before - stored:
            self._queue.drop(render_id)
        for render in await self._renders.found(stored - before):
            if render.id not in self._queue:
                self._note(render)

    async def _ring_for_others(self) -> None:
        told = self._bell.listened()
        last = await self._renders.last_seqs(told)
        behind = [render_id for render_id, seq in last.items() if seq > told[render_id]]
        for render_id, event in (await self._renders.newest_events(behind)).items():
            self._bell.ring(render_id, event)
