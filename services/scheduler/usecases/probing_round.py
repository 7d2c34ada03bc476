"""Probing by itself what is not verified, while nobody needs the device."""

from datetime import timedelta

import structlog

from services.chassis.errors import ForgeError
from services.scheduler.domain.errors import TargetNotOffered
from services.scheduler.domain.fleet import Pin
from services.scheduler.domain.probe import Origin
from services.scheduler.ports import Clock
from services.scheduler.probe_ports import ProbeStore, TargetRow, TargetRows
from services.scheduler.usecases.probes import Probes
from services.scheduler.usecases.queue import Queue
from services.scheduler.usecases.runtimes import Runtimes

log = structlog.get_logger()

LOOK_EVERY_SECONDS = 60.0
_VERIFIED = "supported"


class ProbingRound:
    """Makes one probe at a time of a real target that is not verified, has a free slot, and had none for a while."""

    def __init__(
        self,
        *,
        probes: Probes,
        store: ProbeStore,
        rows: TargetRows,
        runtimes: Runtimes,
        queue: Queue,
        clock: Clock,
        every_seconds: float | None,
    ) -> None:
        self._probes = probes
        self._store = store
        self._rows = rows
        self._runtimes = runtimes
        self._queue = queue
        self._clock = clock
        self._every_seconds = every_seconds

    async def run(self) -> None:
        """Look about once a minute, for the first time after one whole interval; until canceled."""
        if not self._every_seconds:
            return
        await self._clock.sleep(self._every_seconds)
        while True:
            try:
                await self._look(self._every_seconds)
            except ForgeError as error:
                log.warning("no probe made by itself", reason=error.reason)
            await self._clock.sleep(LOOK_EVERY_SECONDS)

    async def _look(self, every_seconds: float) -> None:
        if self._queue.counts() or await self._store.under_way():
            return
        since = self._clock.now() - timedelta(seconds=every_seconds)
        recent = {
            (p.slug, p.model_version, p.target.gpu_type, p.target.region)
            for p in await self._store.created_since(since)
        }
        for row in await self._rows.all():
            if (row.slug, row.model_version, row.gpu_type, row.region) not in recent and self._is_worth_it(row):
                pin = Pin(row.gpu_type, row.region)
                try:
                    await self._probes.create(row.slug, row.model_version, pin, 0, origin=Origin.SCHEDULED)
                except TargetNotOffered:  # too small for the version: on to the next row
                    continue
                return

    def _is_worth_it(self, row: TargetRow) -> bool:
        """Whether the target is a real one of this fleet, not verified, and idle."""
        free = {
            (slot.target.gpu_type, slot.target.region)
            for slot in self._runtimes.free_slots()
            if not slot.target.simulated
        }
        return row.status != _VERIFIED and (row.gpu_type, row.region) in free
