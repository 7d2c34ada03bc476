"""Settings of the scheduler."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from services.chassis.config import ChassisSettings, expect_origin, names_in
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.upload import UploadLimits


class SchedulerSettings(ChassisSettings):
    """What the scheduler reads from the environment besides what every service does."""

    scheduler_replica: str = Field(default="", pattern=r"^[a-z0-9-]{0,20}$")
    """What sets this scheduler apart from others on the same PostgreSQL; it stays the same over restarts."""
    scheduler_advertised_address: str | None = None
    """Where other replicas reach this one, "host:port", when that is not the address that it listens on."""
    fleet: str = "local"
    """Name of a file in `config/fleets/`, or the path of one."""
    placer: Literal["local", "ray"] = "local"
    """Where workers run: "local" on this machine, "ray" on the machines of a Ray cluster."""
    ray_address: str = Field(default="", validation_alias="RAY_ADDRESS")
    """Where the cluster is, as Ray has it: ray://host:10001 from anywhere, host:6379 from one of its own machines."""
    weights: str = "demo"
    """Passed to workers: "demo", "random", "hub", or a directory of checkpoints."""
    lease_seconds: float = Field(default=30.0, gt=0)
    """How long a worker may be silent before it counts as lost. Workers say something every 5 s."""
    drain_seconds: float = Field(default=0.0, ge=0)
    """How long renders may go on once the scheduler is told to stop, before they are checkpointed and queued again."""
    idle_release_seconds: float = Field(default=900.0, gt=0)
    """How long a runtime stays warm after its last request."""
    scale_in_seconds: float = Field(default=120.0, gt=0)
    """How long one stays that is idle beside another warm one of its version."""
    queue_ttl_seconds: float | None = Field(default=None, gt=0)
    """How long a render may wait for its first attempt before it expires; for ever when unset."""
    paused_ttl_seconds: float = Field(default=86_400.0, gt=0)
    """How long a paused render is kept."""
    max_queued_per_account: int | None = Field(default=10_000, gt=0)
    """How many renders of an account may wait."""
    max_running_per_account: int | None = Field(default=None, gt=0)
    """How many renders of an account run at once; the others wait."""
    gpu_seconds_per_day: float | None = Field(default=None, gt=0)
    """Device time an account may use in 24 hours."""
    max_queued_gpu_seconds_per_target: float | None = Field(default=None, gt=0)
    """Device time that may wait for each slot before no more is taken on."""
    probe_round_seconds: float | None = Field(default=86_400.0, ge=0)
    """How often a target that is not verified is probed by itself while it is idle; never when 0."""
    webhooks_to_private_addresses: bool = False
    """Whether webhooks may go to loopback and private addresses, and over http."""
    objects_public_endpoint: str | None = None
    """Where clients reach the object store, https://host:port: links to videos then lead there; unset, they do not."""
    image_urls: str = ""
    """Hosts that images are fetched from, separated by commas: "img.example.com", "*.example.com" for all below it, "*"
    for every public one. None when empty."""
    image_urls_from_private_addresses: bool = False
    """Whether those hosts may be at loopback and private addresses, and speak http. For development."""
    upload_ttl_seconds: float = Field(default=86_400.0, gt=0)
    """How long an upload can be named."""
    max_uploads_per_account: int = Field(default=200, gt=0)
    """How many uploads an account may keep."""
    max_upload_bytes_per_account: int = Field(default=2**30, gt=0)
    """How many bytes they may have together."""
    worker_launch_seconds: float = Field(default=60.0, gt=0)
    """How long a worker process may take until it serves."""
    worker_stop_seconds: float = Field(default=8.0, gt=0)
    """How long a worker may take to end before it is killed."""
    worker_spares: int = Field(default=1, ge=0)
    """Processes that wait with their imports done, so that the next cold start is spared seconds; 0 keeps none."""

    @field_validator("objects_public_endpoint")
    @classmethod
    def _is_of_http(cls, url: str | None) -> str | None:
        return None if url is None else expect_origin(url)

    @property
    def database_path(self) -> Path:
        """Where renders are kept."""
        return self.state_dir / "scheduler.sqlite3"

    @property
    def audit_outbox_path(self) -> Path:
        """Where calls of this service are noted until the audit log has them."""
        name = f"scheduler-{self.scheduler_replica}" if self.scheduler_replica else "scheduler"
        return self.state_dir / f"{name}-audit.sqlite3"

    @property
    def image_hosts(self) -> list[str]:
        """The hosts that images are fetched from."""
        return names_in(self.image_urls)

    @property
    def upload_limits(self) -> UploadLimits:
        """What accounts may keep."""
        return UploadLimits(
            ttl=timedelta(seconds=self.upload_ttl_seconds),
            max_count=self.max_uploads_per_account,
            max_bytes=self.max_upload_bytes_per_account,
        )

    @property
    def policy(self) -> Policy:
        """What the installation allows."""
        ttl = self.queue_ttl_seconds
        return Policy(
            lease_seconds=self.lease_seconds,
            drain_seconds=self.drain_seconds,
            idle_release_seconds=self.idle_release_seconds,
            scale_in_seconds=self.scale_in_seconds,
            queue_ttl=timedelta(seconds=ttl) if ttl else None,
            paused_ttl=timedelta(seconds=self.paused_ttl_seconds),
            max_queued_per_account=self.max_queued_per_account,
            max_running_per_account=self.max_running_per_account,
            gpu_seconds_per_day=self.gpu_seconds_per_day,
            max_queued_gpu_seconds_per_target=self.max_queued_gpu_seconds_per_target,
        )
