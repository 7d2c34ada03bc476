"""How much of its rate limit each key has left."""

from services.accounts.domain import ApiKey
from services.accounts.rates import Allowance, RateLimit, counted
from services.chassis.clock import Clock

SWEEP_SECONDS = 60.0


class RateLimits:
    """Counts requests by key, in memory: every process counts for itself, and after a restart every burst is whole.

    Only keys whose burst is not whole are remembered, so memory follows the keys in use, which strangers cannot make.
    """

    def __init__(self, of_installation: RateLimit | None, clock: Clock) -> None:
        self._of_installation = of_installation
        self._clock = clock
        self._full_at_ns: dict[str, int] = {}
        self._swept_at_ns = 0

    def count(self, key: ApiKey) -> Allowance | None:
        """Count a request of a key: how its limit stands, or None where it has none."""
        limit = key.rate_limit or self._of_installation
        if limit is None:
            return None
        now_ns = round(self._clock.monotonic() * 1e9)
        self._forget_whole_bursts(now_ns)
        self._full_at_ns[key.id], allowance = counted(limit, self._full_at_ns.get(key.id, now_ns), now_ns)
        return allowance

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._full_at_ns)

    def _forget_whole_bursts(self, now_ns: int) -> None:
        if now_ns - self._swept_at_ns < SWEEP_SECONDS * 1e9:
            return
        self._swept_at_ns = now_ns
        self._full_at_ns = {key: full_at for key, full_at in self._full_at_ns.items() if full_at > now_ns}
