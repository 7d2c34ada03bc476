"""Noting calls: that one begins before it changes anything, and how it has ended before its answer leaves."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, TypeVar

import structlog
from google.protobuf.message import Message
from opentelemetry.metrics import Meter

from services.chassis import identity
from services.chassis.audit.contract import AuditedRpc
from services.chassis.audit.entry import CANCELLED, OK, UNKNOWN, AuditEntry
from services.chassis.audit.outbox import AuditOutbox
from services.chassis.clock import Clock
from services.chassis.errors import ForgeError
from services.chassis.identity import Caller
from services.chassis.ids import new_id
from services.chassis.storage import StoreUnavailable
from services.chassis.tasks import uninterrupted
from services.chassis.telemetry import current_trace_id

log = structlog.get_logger()

Answer = TypeVar("Answer")
MOST_UNWRITTEN = 10_000
_SETTLING_SECONDS = 2.0


class AuditTrail:
    """Notes the audited calls of one service in its outbox.

    A call whose beginning cannot be noted is refused before anything has happened. Once it has happened it is answered
    in any case: an end that cannot be noted now is noted as soon as it can be.
    """

    def __init__(self, outbox: AuditOutbox, clock: Clock, meter: Meter, on_noted: Callable[[], object]) -> None:
        self._outbox = outbox
        self._clock = clock
        self._on_noted = on_noted
        self._failures = meter.create_counter(
            "forge.audit.write_failures", description="audit entries that could not be written when they were to be"
        )
        self._unwritten: deque[AuditEntry] = deque(maxlen=MOST_UNWRITTEN)
        self._under_way: set[asyncio.Task[Any]] = set()

    async def kept(self, rpc: AuditedRpc, request: object, answer: Callable[[], Awaitable[Answer]]) -> Answer:
        """What `answer` gives or raises, once it is on record. Raises StoreUnavailable when that cannot be.

        The call was admitted. It is kept in the name of its caller, or of whom `answer` finds that it is for.
        """
        entry = self._entry(rpc, request)
        began = self._clock.monotonic()
        outcome, response = UNKNOWN, None
        with _remembered(self._under_way):
            try:
                await self._begin(entry)
                response = await answer()
                outcome = OK
                return response
            except BaseException as error:
                outcome = _outcome(error)
                raise
            finally:
                ended = replace(
                    _in_the_name_of(entry, identity.caller()),
                    outcome=outcome,
                    took_ms=round((self._clock.monotonic() - began) * 1000),
                )
                await uninterrupted(self._end(_about(ended, rpc, response, "response")))

    async def refused(self, rpc: AuditedRpc, request: object, refusal: ForgeError) -> None:
        """Note a call of a known caller that was not admitted."""
        entry = replace(self._entry(rpc, request), outcome=refusal.reason, took_ms=0)
        with _remembered(self._under_way):
            await uninterrupted(self._end(entry))

    async def write_what_could_not_be(self) -> None:
        """Try again to write entries that could not be written before. Raises StoreUnavailable."""
        while self._unwritten:
            entry = self._unwritten.popleft()
            try:
                await self._outbox.end(entry)
            except BaseException:
                self._unwritten.appendleft(entry)
                raise

    async def settled(self) -> None:
        """Return when no call is under way, or after a moment: those that were cut off note their end."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_SETTLING_SECONDS)

    def _entry(self, rpc: AuditedRpc, request: object) -> AuditEntry:
        caller = identity.caller()
        entry = AuditEntry(
            id=new_id("aud"),
            occurred_at=self._clock.now(),
            account=caller.account,
            api_key_id=caller.key_id,
            session_id=caller.session_id,
            method=rpc.name,
            trace_id=current_trace_id(),
            request_id=caller.request_id,
        )
        return _about(entry, rpc, request, "request")

    async def _begin(self, entry: AuditEntry) -> None:
        try:
            await self._outbox.begin(entry)
        except StoreUnavailable:
            self._failures.add(1)
            log.error("call refused: it cannot be kept in the audit log", **_shown(entry))
            raise

    async def _end(self, entry: AuditEntry) -> None:
        try:
            await self._outbox.end(entry)
            self._on_noted()
        except Exception as failure:  # what has happened is answered, whatever is wrong with the outbox
            self._failures.add(1)
            log.error("audit entry not written yet", error=str(failure), **_shown(entry))
            self._unwritten.append(entry)


@contextmanager
def _remembered(tasks: set[asyncio.Task[Any]]) -> Iterator[None]:
    """Keep the running task among `tasks` while the block lasts."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 — calls are answered in tasks
    tasks.add(task)
    try:
        yield
    finally:
        tasks.discard(task)


def _about(entry: AuditEntry, rpc: AuditedRpc, message: object, part: str) -> AuditEntry:
    """The entry with what a message names; one that could not be decoded, or is not there, names nothing."""
    return entry.about(rpc.named_in(message, part)) if isinstance(message, Message) else entry


def _in_the_name_of(entry: AuditEntry, caller: Caller) -> AuditEntry:
    return replace(entry, account=caller.account, api_key_id=caller.key_id)


def _outcome(error: BaseException) -> str:
    if isinstance(error, ForgeError):
        return error.reason
    return "INTERNAL" if isinstance(error, Exception) else CANCELLED


def _shown(entry: AuditEntry) -> dict[str, object]:
    """The entry as part of a log line: it is then not lost altogether, whatever becomes of it."""
    return {f"audit_{name}": str(value) for name, value in asdict(entry).items()}
