"""Settings of a worker."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from services.chassis.config import ChassisSettings
from services.chassis.ids import new_id


def _cores() -> int:
    """Cores this process may use; not every system can tell them from those it has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class WorkerSettings(ChassisSettings):
    """What a worker reads from the environment besides what every service does."""

    worker_id: str = Field(default_factory=lambda: new_id("worker"))
    """Identity of this process, given by who starts it."""
    worker_listen: str = "127.0.0.1:0"
    """"host:port" to serve on; port 0 picks a free one."""
    worker_address_file: Path | None = None
    """Where to say, as JSON, which address was picked."""
    worker_device: str = "cpu"
    """Device as torch spells it: "cpu", "cuda:0"."""
    worker_threads: int = Field(default_factory=_cores, gt=0)
    """Threads for arithmetic on the CPU; as many as there are cores."""
    worker_orphan_timeout_seconds: float = Field(default=30.0, gt=0)
    """How long a worker that nobody calls stays. As long as a scheduler's lease: by then its attempt is given away."""
    worker_checkpoint_seconds: float = Field(default=5.0, gt=0)
    """The least time between two checkpoints of a render: how much work a lost worker takes with it."""
    worker_storage_patience_seconds: float = Field(default=300.0, ge=0)
    """How long the object store is asked again to take a finished video before the attempt fails."""
    weights: str = ""
    """Where weights come from: "demo" and "random" make small ones here, "hub" downloads the real ones, all else is a
    directory.

    A directory holds real ones as DIR/<slug>/<model_version> or DIR/<name of the repository>. Left empty it is "demo"
    on the CPU and "hub" on a GPU."""

    compile: Literal["auto", "on", "off"] = "auto"
    """Whether engines compile their kernels after the first video: "auto" does on a GPU."""

    @field_validator("weights")
    @classmethod
    def _stripped(cls, weights: str) -> str:
        return weights.strip()

    @property
    def weights_source(self) -> str:
        """Where weights come from, decided."""
        return self.weights or ("demo" if self.worker_device == "cpu" else "hub")

    @property
    def compiles_kernels(self) -> bool:
        """Whether engines compile their kernels, decided."""
        return self.compile == "on" or (self.compile == "auto" and self.worker_device != "cpu")
