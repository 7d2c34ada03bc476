"""What the audit log needs from the outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.chassis.audit.entry import AuditEntry


@dataclass(frozen=True)
class AuditFilter:
    """Which entries of an account to list. None and an empty tuple are any."""

    methods: tuple[str, ...] = ()
    api_key_id: str | None = None
    resource: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Place:
    """Where a listing goes on: just behind this entry."""

    occurred_at: datetime
    id: str


class AuditStore(Protocol):
    """Entries that survive. Nothing in it is changed; what is deleted is old. Raises StoreUnavailable."""

    async def add(self, entries: Sequence[AuditEntry]) -> None:
        """Keep entries; one whose id is known stays as it is."""
        ...

    async def list(self, account: str, wanted: AuditFilter, *, size: int, behind: Place | None) -> Sequence[AuditEntry]:
        """At most `size` entries of the account, newest first."""
        ...

    async def forget_before(self, moment: datetime, *, limit: int) -> int:
        """Delete at most `limit` entries that are older; how many there were."""
        ...
