"""What the audit log keeps of a call: names alone, never anything a caller wrote."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

OK = "OK"
CANCELLED = "CANCELLED"
"""The call was cut off before its answer, by its caller or by its service being stopped. It may have done its work."""
UNKNOWN = "UNKNOWN"
"""The end of the call was not seen: its service ended first. It may have done its work."""
MAX_RESOURCES = 20

_ID = r"[a-z]{2,8}_[0-9a-hjkmnp-tv-z]{26}"  # as the platform makes them; no secret looks like this
_SLUG = r"[a-z0-9]+(-[a-z0-9]+)*"
_RESOURCE = re.compile(rf"{_ID}|(?=.{{1,64}}\Z){_SLUG}")


@dataclass(frozen=True)
class AuditEntry:
    """One call of an RPC that changes something. Strings are empty where there is nothing to say."""

    id: str
    occurred_at: datetime
    account: str
    api_key_id: str
    session_id: str
    method: str
    """The RPC: "package.Service/Method"."""
    resources: tuple[str, ...] = ()
    outcome: str = UNKNOWN
    """OK, a reason of the contract's errors, CANCELLED or UNKNOWN."""
    took_ms: int | None = None
    trace_id: str = ""
    request_id: str = ""

    def about(self, found: Iterable[str]) -> "AuditEntry":
        """The same with further resources. What cannot be an identifier or a slug is left out: it may be anything."""
        clean = (value for value in found if _RESOURCE.fullmatch(value))
        return replace(self, resources=tuple(dict.fromkeys((*self.resources, *clean)))[:MAX_RESOURCES])
