"""What an installation allows, and how patient it is."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Policy:
    """Limits and times. None is no limit."""

    lease_seconds: float = 30.0
    """How long a worker may be silent before it counts as lost."""
    drain_seconds: float = 0.0
    """How long attempts may go on once the scheduler is told to stop, before they are checkpointed and released."""
    idle_release_seconds: float = 900.0
    """How long a runtime stays warm without work."""
    scale_in_seconds: float = 120.0
    """How long one stays that is idle beside another warm one of its version."""
    queue_ttl: timedelta | None = None
    """How long a render may wait for its first attempt."""
    paused_ttl: timedelta = timedelta(days=1)
    """How long a paused render is kept."""
    keys_ttl: timedelta = timedelta(days=1)
    """How long an idempotency key is remembered."""
    max_queued_per_account: int | None = 10_000
    max_running_per_account: int | None = None
    gpu_seconds_per_day: float | None = None
    """Device time an account may use in 24 hours."""
    max_queued_gpu_seconds_per_target: float | None = None
    """Device time that may wait for each slot of a target before no more is taken on."""
