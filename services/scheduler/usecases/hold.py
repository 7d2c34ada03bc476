"""A leased render in the hands of one attempt: its lease, its device time, and what its epoch lets it write."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import structlog

from services.chassis.storage import StoreUnavailable
from services.chassis.tasks import uninterrupted
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import ACTIVE, Render
from services.scheduler.ports import Change, Clock, RenderStore
from services.scheduler.usecases.renders import Renders

log = structlog.get_logger()

STORE_RETRY_SECONDS = 1.0


class Superseded(Exception):
    """The render has moved on without this attempt: another epoch, or already at its end."""


class Hold:
    """Every write is fenced by the attempt's epoch and renews the lease.

    The lease is measured by this process's own clock that only grows; the store has it for others. Device time counts
    up to the last sign of life; the time between two schedulers, which only a wall clock has seen, is nobody's.
    """

    def __init__(self, render: Render, *, renders: Renders, store: RenderStore, clock: Clock, policy: Policy) -> None:
        self.render = render
        """As it was last written."""
        self._renders = renders
        self._store = store
        self._clock = clock
        self._lease = timedelta(seconds=policy.lease_seconds)
        self._heard_at = self._accrued_at = self._foretold_at = clock.monotonic()
        self._writing = asyncio.Lock()

    def heard(self) -> None:
        """The worker gave a sign of life, or is not to blame for its silence."""
        self._heard_at = self._clock.monotonic()

    def silent_seconds(self) -> float:
        """How long nothing was heard."""
        return self._clock.monotonic() - self._heard_at

    def elapsed_seconds(self) -> float:
        """Device time of the attempt so far."""
        return self.render.attempts[-1].gpu_seconds + self._clock.monotonic() - self._accrued_at

    def remaining_seconds(self) -> float | None:
        """How long the attempt is expected to go on, None when nobody knows.

        What is overdue is expected to take as long again as it is overdue, so that nobody waits for it for ever.
        """
        foretold = self.render.progress.eta_seconds_p50
        return None if foretold is None else abs(foretold - (self._clock.monotonic() - self._foretold_at))

    async def renew(self) -> None:
        """Renew the lease and say nothing. Raises Superseded."""
        try:
            if not await self._store.renew(self.render.id, self.render.epoch, self._clock.now() + self._lease):
                raise Superseded
        except StoreUnavailable:
            log.warning("lease not renewed: the store is not available", render_id=self.render.id)

    async def write(self, change: Change, message: str, *, accrue: bool = True) -> None:
        """Write a change and renew the lease; waits for a store that is away, while the worker keeps what it says.

        Raises Superseded.
        """
        held_until = self._clock.monotonic() if accrue else self._accrued_at  # however long the store is away
        async with self._writing:
            while True:
                try:
                    return await uninterrupted(self._write_once(change, message, held_until))
                except StoreUnavailable:
                    log.warning("event not written: the store is not available", render_id=self.render.id)
                    self.heard()
                    await self._clock.sleep(STORE_RETRY_SECONDS)

    async def _write_once(self, change: Change, message: str, held_until: float) -> None:
        heard_at, now = self._clock.monotonic(), self._clock.now()
        seconds = max(0.0, held_until - self._accrued_at)
        accrued_at = now - timedelta(seconds=heard_at - held_until)

        def renewed(render: Render) -> Render | None:
            after = change(render.accrued(seconds, accrued_at) if render.status in ACTIVE else render)
            if after is None or after.status not in ACTIVE:
                return after
            return replace(after, lease_until=now + self._lease)

        written = await self._renders.advance(self.render.id, renewed, message, epoch=self.render.epoch)
        if written is None:
            raise Superseded
        if (written.phase, written.progress) != (self.render.phase, self.render.progress):
            self._foretold_at = heard_at
        self.render = written
        self._heard_at = max(heard_at, self._heard_at)
        self._accrued_at = max(held_until, self._accrued_at)
