"""What a worker loads, and how its start goes."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Version:
    """A runnable form of a model, as the catalogue describes it."""

    slug: str
    model_version: str
    pipeline: str
    """Class of the diffusers pipeline."""
    weights_repository: str
    weights_revision: str
    weights_dtype: str


class StartPhase(StrEnum):
    """Stages of a start, in order; the last two end it."""

    IMPORTS = "imports"
    BUILDING_WEIGHTS = "building_weights"
    WEIGHTS = "weights"
    WARM_UP = "warm_up"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class StartMoment:
    """How far a start is, as the loader tells it. Bytes count weights and are known only while they load."""

    phase: StartPhase
    message: str
    done_bytes: int | None = None
    total_bytes: int | None = None


class WorkerState(StrEnum):
    """What a worker can be asked for."""

    EMPTY = "empty"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
