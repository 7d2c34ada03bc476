"""How often a key may be used: the generic cell rate algorithm, in whole nanoseconds."""

import math
from dataclasses import dataclass

from services.chassis.errors import ForgeError, Kind, Violation

MIN_PER_SECOND, MAX_PER_SECOND = 0.01, 10_000.0
MAX_BURST = 100_000
_NS = 1_000_000_000


@dataclass(frozen=True)
class RateLimit:
    """`burst` requests at once after a silence, and `requests_per_second` in the long run."""

    requests_per_second: float
    burst: int

    @classmethod
    def with_burst_of(cls, requests_per_second: float, burst: int | None) -> "RateLimit":
        """A limit; without a burst as many as come in two seconds."""
        if burst is None:
            in_two_seconds = 2 * requests_per_second
            burst = min(max(1, math.ceil(in_two_seconds)), MAX_BURST) if math.isfinite(in_two_seconds) else 1
        return cls(requests_per_second, burst)

    @property
    def period_ns(self) -> int:
        """Time in which one more request may come."""
        return round(_NS / self.requests_per_second)

    def violations(self) -> list[Violation]:
        """Everything that is wrong with it, as fields of `rate_limit`."""
        found = []
        if not MIN_PER_SECOND <= self.requests_per_second <= MAX_PER_SECOND:  # NaN too
            allowed = f"must be {MIN_PER_SECOND} to {MAX_PER_SECOND:,.0f}, not {self.requests_per_second}"
            found.append(Violation("rate_limit.requests_per_second", allowed))
        if not 1 <= self.burst <= MAX_BURST:
            found.append(Violation("rate_limit.burst", f"must be 1 to {MAX_BURST:,}, not {self.burst}"))
        return found


@dataclass(frozen=True)
class Allowance:
    """How a limit stands once a request was counted or refused."""

    limit: RateLimit
    remaining: int
    """Requests that may come at once now."""
    full_in_seconds: float
    """When the whole burst may come again."""
    retry_after_seconds: float | None = None
    """When the next request may pass; None for one that passed."""


class RateLimited(ForgeError):
    """A key is used more often than it may be."""

    kind = Kind.EXHAUSTED
    reason = "RATE_LIMITED"

    def __init__(self, allowance: Allowance) -> None:
        limit = allowance.limit
        super().__init__(
            f"this API key may be used {limit.requests_per_second:g} times a second, {limit.burst} times at once;"
            " wait, or ask for a key with another rate limit",
            retry_after_seconds=allowance.retry_after_seconds,
        )
        self.allowance = allowance


def counted(limit: RateLimit, full_at_ns: int, now_ns: int) -> tuple[int, Allowance]:
    """Count a request at `now_ns`: when the burst is whole again, and how the limit stands.

    `full_at_ns` is when it would have been without this request. One that is refused is not counted.
    """
    full_at_ns = max(full_at_ns, now_ns)
    room_ns = limit.burst * limit.period_ns
    excess_ns = full_at_ns + limit.period_ns - now_ns - room_ns
    retry_after_seconds = None
    if excess_ns > 0:
        retry_after_seconds = excess_ns / _NS
    else:
        full_at_ns += limit.period_ns
    left_ns = full_at_ns - now_ns
    remaining = (room_ns - left_ns) // limit.period_ns
    return full_at_ns, Allowance(limit, remaining, left_ns / _NS, retry_after_seconds)
