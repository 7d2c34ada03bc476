"""What the platforms that faults are tried on are started with."""

from collections.abc import Mapping
from dataclasses import dataclass

LEASE_SECONDS = 6.0
"""Workers say something every 4 s."""
CHECKPOINT_SECONDS = 0.5
GENERAL, SPARE = "B200", "L40S"
"""Targets: the two slots that most faults use, and the one that may be spoiled."""

FLEET = f"""slots:
  - {{gpu_type: {GENERAL}, region: us-central1, count: 2, simulated: true, memory_gib: 180}}
  - {{gpu_type: {SPARE}, region: eu-north1, count: 1, simulated: true, memory_gib: 48}}
"""

MACHINES = {GENERAL: "us-central1", SPARE: "eu-north1", "H100": "eu-north1", "H200": "eu-north2"}
"""What each machine of a cluster has two of, and where it is."""
QUICK_MACHINES = 2
"""So many of them are there in the quick cut, the first ones."""
FLEET_OF_MACHINES = "slots:\n" + "".join(
    f"  - {{gpu_type: {gpu_type}, region: {region}, count: 2, simulated: true}}\n"
    for gpu_type, region in MACHINES.items()
)

_COMMON = {
    "FORGE_WEIGHTS": "random",
    "FORGE_WORKER_THREADS": "1",
    "FORGE_WORKER_CHECKPOINT_SECONDS": str(CHECKPOINT_SECONDS),
    "FORGE_LEASE_SECONDS": str(LEASE_SECONDS),
    "FORGE_DRAIN_SECONDS": "0.3",
    "FORGE_RATE_LIMIT_PER_SECOND": "0",  # one key asks for everything, thousands of times in a second
    "FORGE_WEBHOOKS_TO_PRIVATE_ADDRESSES": "true",  # to a receiver of the trial
}


@dataclass(frozen=True)
class Setting:
    """One kind of platform: its settings, and what stands around it."""

    name: str
    max_queued: int
    """Renders of one account in the queue; more are refused."""
    has_small_disks: bool = False
    has_shifted_clocks: bool = False
    is_on_servers: bool = False
    is_on_cluster: bool = False
    schedulers: int = 1

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings of the platform."""
        return _COMMON | {
            "FORGE_MAX_QUEUED_PER_ACCOUNT": str(self.max_queued),
            "FORGE_SCHEDULERS": str(self.schedulers),
        }


WIDE = Setting("wide", max_queued=20_000)
"""Room for whatever is asked for."""

NARROW = Setting("narrow", max_queued=20, has_small_disks=True, has_shifted_clocks=True)
"""Little room: short queues, disks that can be filled, and clocks that can be shifted."""

QUICK = Setting("quick", max_queued=40, has_small_disks=True, has_shifted_clocks=True)
"""One platform for the small sizes of every fault, because starting another takes as long as many of them."""

ON_SERVERS = Setting("on-servers", max_queued=20_000, is_on_servers=True, schedulers=2)
"""Its tables in a PostgreSQL and its objects in a bucket, whose servers can be stopped, and two schedulers."""


ON_CLUSTER = Setting("on-cluster", max_queued=20_000, is_on_cluster=True)
"""Its workers on the four machines of a Ray cluster, which can be killed one by one."""


def quick(setting: Setting) -> Setting:
    """The platform on which the small sizes are tried of the faults that need this one."""
    return setting if setting in (ON_SERVERS, ON_CLUSTER) else QUICK
