"""What the platforms that faults are tried on are started with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

LEASE_SECONDS = 6.0
"""Workers say something every 4 s."""
CHECKPOINT_SECONDS = 0.5
MAX_QUEUED_NARROW = 20
GENERAL, SPARE = "B200", "L40S"
"""Targets: the two slots that most faults use, and the one that may be spoiled."""

FLEET = f"""slots:
  - {{gpu_type: {GENERAL}, region: us-central1, count: 2, simulated: true, memory_gib: 180}}
  - {{gpu_type: {SPARE}, region: eu-north1, count: 1, simulated: true, memory_gib: 48}}
"""

_COMMON = {
    "FORGE_WEIGHTS": "demo",
    "FORGE_WORKER_THREADS": "1",
    "FORGE_WORKER_CHECKPOINT_SECONDS": str(CHECKPOINT_SECONDS),
    "FORGE_LEASE_SECONDS": str(LEASE_SECONDS),
    "FORGE_DRAIN_SECONDS": "0.3",
    "FORGE_RATE_LIMIT_PER_SECOND": "0",  # one key asks for everything, thousands of times in a second
}


@dataclass(frozen=True)
class Setting:
    """One kind of platform: its settings, and what stands around it."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)
    has_small_disks: bool = False
    has_shifted_clocks: bool = False


WIDE = Setting(
    "wide",
    _COMMON
    | {
        "FORGE_MAX_QUEUED_PER_ACCOUNT": "20000",
        "FORGE_WEBHOOKS_TO_PRIVATE_ADDRESSES": "true",  # to a receiver of the trial
    },
)
"""Room for whatever is asked for."""

NARROW = Setting(
    "narrow",
    _COMMON | {"FORGE_MAX_QUEUED_PER_ACCOUNT": str(MAX_QUEUED_NARROW)},
    has_small_disks=True,
    has_shifted_clocks=True,
)
"""Little room: short queues, disks that can be filled, and clocks that can be shifted."""
