"""Settings of the scheduler."""

from pydantic import Field

from services.chassis.config import ChassisSettings


class SchedulerSettings(ChassisSettings):
    """What the scheduler reads from the environment besides what every service does."""

    fleet: str = "local"
    """Name of a file in `config/fleets/`, or the path of one."""
    weights: str = "demo"
    """Passed to workers: "demo", "hub", or a directory of checkpoints."""
    idle_release_seconds: float = Field(default=900.0, gt=0)
    """How long a runtime stays warm after its last request."""
    queue_ttl_seconds: float | None = Field(default=None, gt=0)
    """How long a render may wait in the queue before it expires; for ever when unset."""
    worker_launch_seconds: float = Field(default=60.0, gt=0)
    """How long a worker process may take until it serves."""
    worker_stop_seconds: float = Field(default=8.0, gt=0)
    """How long a worker may take to end before it is killed."""
    worker_spares: int = Field(default=1, ge=0)
    """Processes that wait with their imports done, so that the next cold start is spared seconds; 0 keeps none."""
