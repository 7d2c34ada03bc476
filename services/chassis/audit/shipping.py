"""Passing audit entries on to the audit log: at least once, however long it is away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import structlog
from forge.accounts.v1 import audit_record_service_pb2, audit_record_service_pb2_grpc
from grpc import aio
from opentelemetry import metrics

from services.chassis.audit.entry import AuditEntry
from services.chassis.audit.outbox import AuditOutbox, Waiting
from services.chassis.audit.trail import AuditTrail
from services.chassis.audit.wire import entry_to_proto
from services.chassis.clock import Clock
from services.chassis.errors import ForgeError, Kind
from services.chassis.status import errors_of
from services.chassis.storage import Database, StoreUnavailable
from services.chassis.tasks import in_background, set_or_after

log = structlog.get_logger()

POLL_SECONDS = 2.0
"""How often it is looked for entries; being woken only makes it faster."""
REFUSED_SECONDS = 300.0
"""How long one that was refused waits before it is told again: a mistake somewhere, which somebody may mend."""
BATCH = 200
_DEADLINE_SECONDS = 10.0


class AuditLog(Protocol):
    """Where entries are kept. Being told twice changes nothing."""

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        """Keep entries; durable when this returns. Raises ForgeError: SERVICE_UNAVAILABLE when it does not answer."""
        ...


class GrpcAuditLog:
    """The audit log of the accounts service."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = audit_record_service_pb2_grpc.AuditRecordServiceStub(channel)

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        """Keep entries; durable when this returns."""
        request = audit_record_service_pb2.RecordAuditEventsRequest(events=map(entry_to_proto, entries))
        async with errors_of("accounts"):
            await self._stub.RecordAuditEvents(request, timeout=_DEADLINE_SECONDS)


class Shipping:
    """Passes on what a service has noted. An entry is forgotten here only when the audit log has it."""

    def __init__(self, outbox: AuditOutbox, audit_log: AuditLog, clock: Clock) -> None:
        self._outbox = outbox
        self._audit_log = audit_log
        self._clock = clock
        self._news = asyncio.Event()
        self._not_before: dict[str, float] = {}
        """When those that were refused are told again, by id."""
        self._waiting = metrics.get_meter("forge.audit").create_gauge(
            "forge.audit.waiting", description="audit entries that the audit log does not have yet"
        )

    def wake(self) -> None:
        """Look for what is due now. Nothing is lost when nobody calls this."""
        self._news.set()

    async def run(self, trail: AuditTrail) -> None:
        """Pass entries on until canceled."""
        while True:
            self._news.clear()
            try:
                await trail.write_what_could_not_be()
                await self._pass_all_on()
                self._waiting.set(await self._outbox.count())
            except StoreUnavailable:
                log.warning("no audit entries passed on: the outbox is not available")
            await set_or_after(self._news, self._clock, POLL_SECONDS)

    async def _pass_all_on(self) -> None:
        """Every entry that is due, once. One that is refused keeps no other from being passed on."""
        after = 0
        while found := await self._outbox.due(after=after, limit=BATCH):
            due = [one for one in found if self._not_before.get(one.entry.id, 0.0) <= self._clock.monotonic()]
            if due and not await self._pass_on(due):
                return
            after = found[-1].seq

    async def _pass_on(self, due: Sequence[Waiting]) -> bool:
        """Pass entries on together, or one by one where that is refused; False when nobody is there to take them."""
        try:
            await self._audit_log.record([one.entry for one in due])
        except ForgeError as error:
            log.warning("audit entries not passed on", count=len(due), reason=error.reason)
            if error.kind is Kind.UNAVAILABLE:
                return False
            if len(due) == 1:
                self._not_before[due[0].entry.id] = self._clock.monotonic() + REFUSED_SECONDS
                return True
            for one in due:
                if not await self._pass_on([one]):
                    return False
            return True
        for one in due:
            self._not_before.pop(one.entry.id, None)
        await self._outbox.passed_on([one.seq for one in due])
        return True


@asynccontextmanager
async def audit_trail(
    opening: AbstractAsyncContextManager[Database],
    audit_log: AuditLog,
    clock: Clock,
    *,
    on_failure: Callable[[], None],
) -> AsyncIterator[AuditTrail]:
    """Wire the audit of a service, with its outbox in the database to open, and pass entries on until the block ends.

    `on_failure` is called when that ends by itself, as in `in_background`.
    """
    async with opening as database:
        outbox = AuditOutbox(database)
        if left := await outbox.end_what_was_left():
            log.warning("calls were cut off by the end of the process before", count=left)
        shipping = Shipping(outbox, audit_log, clock)
        trail = AuditTrail(outbox, clock, metrics.get_meter("forge.audit"), shipping.wake)
        async with in_background(shipping.run(trail), on_failure=on_failure):
            try:
                yield trail
            finally:
                await trail.settled()
