"""What an estimate rests on: the work of an input, and what was measured and published for each target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.billing_estimate.domain.targets import Target


@dataclass(frozen=True)
class WorkPart:
    """A part of the work whose time is proportional to its amount.

    `amount` is a multiple of the example's, `share` the part's share of the example's time as expected before anything
    was measured. The shares of all parts add up to 1.
    """

    phase: str
    amount: float
    share: float


@dataclass(frozen=True)
class Sample:
    """A whole and successful run on a warm runtime. `amounts` are those of the parts of work, in their order."""

    amounts: tuple[float, ...]
    memory: float
    phase_ms: Mapping[str, int]
    run_ms: int
    peak_allocated_bytes: float | None = None
    peak_reserved_bytes: float | None = None


@dataclass(frozen=True)
class Figure:
    """What somebody else published of the example on a target; None for what the source does not say."""

    model_ms: int | None = None
    cold_start_ms: int | None = None
    sample_count: int | None = None


@dataclass(frozen=True)
class History:
    """What is known of a version on one target. Samples and starts are the newest ones, newest first."""

    target: Target
    simulated: bool = False
    offered: bool = False
    samples: tuple[Sample, ...] = ()
    cold_start_ms: tuple[int, ...] = ()
    published: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class CostBasis:
    """What the estimate of one input of one version rests on.

    `memory` is what the input needs memory for, as a multiple of the example's; `output_seconds` the length of its
    video, None when the version does not say.
    """

    slug: str
    version: str
    parts: tuple[WorkPart, ...]
    memory: float = 1.0
    output_seconds: float | None = None
    histories: tuple[History, ...] = field(default=())

    @property
    def amounts(self) -> tuple[float, ...]:
        """How much of each part the input asks for."""
        return tuple(part.amount for part in self.parts)

    def work_of(self, amounts: Sequence[float]) -> float:
        """Amounts as one multiple of the example's work, each part weighed by its expected share."""
        if not self.parts:
            return 1.0
        return sum(part.share * amount for part, amount in zip(self.parts, amounts, strict=True))
