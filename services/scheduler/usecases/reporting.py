"""Telling the ledger and the bills of attempts that have ended: at least once, however long they are away."""

import asyncio
from collections.abc import Sequence

import structlog

from services.chassis.clock import Clock
from services.chassis.errors import ForgeError, Kind
from services.chassis.storage import StoreUnavailable
from services.chassis.tasks import set_or_after
from services.scheduler.report_ports import Bookkeeper, Report, ReportStore

log = structlog.get_logger()

POLL_SECONDS = 2.0
"""How often it is looked for reports; being woken only makes it faster."""
REFUSED_SECONDS = 300.0
"""How long one that was refused waits before it is told again: a mistake somewhere, which somebody may mend."""
BATCH = 100


class Reporting:
    """Reports each ended attempt to every bookkeeper. One that is told of is forgotten only then."""

    def __init__(self, *, store: ReportStore, bookkeepers: Sequence[Bookkeeper], clock: Clock) -> None:
        self._store = store
        self._bookkeepers = bookkeepers
        self._clock = clock
        self._news = asyncio.Event()
        self._not_before: dict[str, float] = {}
        """When those that were refused are told again, by render."""

    def wake(self) -> None:
        """Look for what is due now. Nothing is lost when nobody calls this."""
        self._news.set()

    async def run(self) -> None:
        """Report until canceled."""
        while True:
            self._news.clear()
            try:
                await self._report_all()
            except StoreUnavailable:
                log.warning("nothing reported: the store is not available")
            await set_or_after(self._news, self._clock, POLL_SECONDS)

    async def _report_all(self) -> None:
        """Every report that is due, once. One that cannot be told now keeps no other from being told."""
        after = ""
        while reports := await self._store.due(after=after, limit=BATCH):
            for report in reports:
                is_early = self._clock.monotonic() < self._not_before.get(report.render.id, float("-inf"))
                if not is_early and not await self._report(report):
                    return
            after = reports[-1].render.id

    async def _report(self, report: Report) -> bool:
        """Tell of one render; False when somebody is away, so that the others must wait as well."""
        refused = False
        for bookkeeper in self._bookkeepers:
            try:
                await bookkeeper.tell(report.render)
            except ForgeError as error:
                log.warning("attempts not reported", render_id=report.render.id, reason=error.reason)
                if error.kind is Kind.UNAVAILABLE:
                    return False
                refused = True
        if refused:
            self._not_before[report.render.id] = self._clock.monotonic() + REFUSED_SECONDS
        else:
            self._not_before.pop(report.render.id, None)
            await self._store.told(report)
        return True
