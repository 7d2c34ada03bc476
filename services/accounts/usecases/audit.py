"""The audit log: keeping what services have noted, showing it to its account, and forgetting what is old."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from services.accounts.audit_ports import AuditFilter, AuditStore, Place
from services.chassis.audit.contract import audited_names
from services.chassis.audit.entry import AuditEntry
from services.chassis.clock import Clock
from services.chassis.errors import InvalidInput, Violation
from services.chassis.known import did_you_mean
from services.chassis.storage import StoreUnavailable

log = structlog.get_logger()

DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 50, 100
FORGET_EVERY_SECONDS = 6 * 3600.0
_FORGET_AT_ONCE = 1000  # rows deleted in one transaction, so that nobody waits long for the writer
_TOKEN = re.compile(r"([0-9]{1,17})-(aud_[0-9a-z]{26})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class AuditPage:
    """Some entries, newest first; `next_token` continues the listing, "" at its end."""

    entries: Sequence[AuditEntry]
    next_token: str


class AuditBook:
    """Who changed what, for as many days as the installation keeps it."""

    def __init__(self, store: AuditStore, clock: Clock, *, keep: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._keep = keep

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        """Keep entries; one that is kept already stays as it is."""
        await self._store.add(entries)

    async def page(
        self,
        account: str,
        *,
        method: str,
        api_key_id: str,
        resource: str,
        since: datetime | None,
        until: datetime | None,
        page_size: int,
        page_token: str,
    ) -> AuditPage:
        """The account's entries, newest first. Empty strings are any. Raises InvalidInput."""
        methods = _methods(method)
        violations: list[Violation] = []
        if method and not methods:
            known = {name.partition("/")[2] for name in audited_names()}
            hint = did_you_mean(method.rpartition("/")[2], known)
            violations.append(Violation("method", f"'{method}' is no RPC that is audited{hint}"))
        if since and until and until <= since:
            violations.append(Violation("until", "must be later than since"))
        if not 0 <= page_size <= MAX_PAGE_SIZE:
            violations.append(Violation("page_size", f"must be from 1 to {MAX_PAGE_SIZE}, or be left out"))
        if page_token and not _TOKEN.fullmatch(page_token):
            violations.append(Violation("page_token", "must be the next_page_token of an earlier answer"))
        if violations:
            raise InvalidInput(violations)
        wanted = AuditFilter(methods, api_key_id or None, resource or None, since, until)
        size = page_size or DEFAULT_PAGE_SIZE
        found = await self._store.list(account, wanted, size=size + 1, behind=_place(page_token))
        return AuditPage(found[:size], _token(found[size - 1]) if len(found) > size else "")

    async def forget_what_is_old(self) -> None:
        """Delete entries that are older than they are kept, again and again, until canceled."""
        while True:
            try:
                await self._forget()
            except StoreUnavailable:
                log.warning("no audit events deleted: the store is not available")
            await self._clock.sleep(FORGET_EVERY_SECONDS)

    async def _forget(self) -> None:
        oldest, total = self._clock.now() - self._keep, 0
        while count := await self._store.forget_before(oldest, limit=_FORGET_AT_ONCE):
            total += count
        if total:
            log.info("old audit events deleted", count=total, older_than=oldest.isoformat())


def _methods(asked: str) -> tuple[str, ...]:
    """The audited RPCs of this name, whole or without their service; several services may have one."""
    return tuple(name for name in audited_names() if asked in (name, name.partition("/")[2]))


def _token(last: AuditEntry) -> str:
    return f"{(last.occurred_at - _EPOCH) // timedelta(microseconds=1)}-{last.id}"


def _place(token: str) -> Place | None:
    match = _TOKEN.fullmatch(token)
    return Place(_EPOCH + timedelta(microseconds=int(match[1])), match[2]) if match else None
