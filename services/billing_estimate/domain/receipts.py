"""What renders took and cost: device time in whole microseconds, money in whole millionths of a dollar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from services.billing_estimate.domain.calibration import Outcome
from services.billing_estimate.domain.targets import Target

MICRO = 1_000_000
SECONDS_PER_HOUR = 3600
SUCCEEDED = "succeeded"

_PHASES = ("starting", "encoding", "denoising", "decoding", "muxing", "storing")


@dataclass(frozen=True)
class AttemptUse:
    """An attempt that has ended, as the scheduler tells it. The price is None where it knew none."""

    attempt: int
    target: Target
    simulated: bool
    started_at: datetime
    ended_at: datetime
    outcome: str
    phase_gpu_us: Mapping[str, int]
    cost_per_gpu_hour_usd: float | None = None
    resumed_steps: int = 0


@dataclass(frozen=True)
class RenderUse:
    """How a render stands, as the scheduler tells it. Estimates are None where there was none."""

    render_id: str
    seq: int
    account: str
    api_key_id: str
    slug: str
    version: str
    status: str
    is_final: bool
    created_at: datetime
    ended_at: datetime | None = None
    estimated_gpu_seconds: float | None = None
    estimated_gpu_seconds_p90: float | None = None
    estimated_cost_usd: float | None = None


@dataclass(frozen=True)
class PhaseCharge:
    """A phase of an attempt and its part of what the attempt costs; None where no price was known."""

    phase: str
    gpu_us: int
    cost_micro_usd: int | None


@dataclass(frozen=True)
class Charge:
    """An attempt on record. Nothing of it ever changes."""

    attempt: int
    target: Target
    simulated: bool
    started_at: datetime
    ended_at: datetime
    outcome: str
    resumed_steps: int
    cost_per_gpu_hour_usd: float | None
    gpu_us: int
    cost_micro_usd: int | None
    phases: tuple[PhaseCharge, ...]


@dataclass(frozen=True)
class Receipt:
    """What a render took and cost so far."""

    render: RenderUse
    charges: tuple[Charge, ...]

    @property
    def gpu_us(self) -> int:
        """Device time, over all attempts."""
        return sum(charge.gpu_us for charge in self.charges)

    @property
    def cost_micro_usd(self) -> int | None:
        """What that costs, as far as prices were known; None where none was. No attempts cost nothing."""
        known = [charge.cost_micro_usd for charge in self.charges if charge.cost_micro_usd is not None]
        return sum(known) if known or not self.charges else None

    @property
    def phase_gpu_us(self) -> dict[str, int]:
        """Device time by phase, over all attempts."""
        total: dict[str, int] = {}
        for phase in (phase for charge in self.charges for phase in charge.phases):
            total[phase.phase] = total.get(phase.phase, 0) + phase.gpu_us
        return total

    @property
    def outcome(self) -> Outcome | None:
        """The render beside its estimate; None unless it succeeded in one go and had an estimate."""
        render = self.render
        if not (render.is_final and render.status == SUCCEEDED and len(self.charges) == 1 and self.gpu_us):
            return None
        charge = self.charges[0]
        if charge.resumed_steps or not render.estimated_gpu_seconds:
            return None
        return Outcome(
            slug=render.slug,
            version=render.version,
            target=charge.target,
            ended_at=charge.ended_at,
            actual=self.gpu_us / MICRO,
            estimated=render.estimated_gpu_seconds,
            estimated_p90=render.estimated_gpu_seconds_p90,
        )


def charge(use: AttemptUse, cost_per_gpu_hour_usd: float | None) -> Charge:
    """What an attempt costs at a price: rounded once, then shared among its phases so that they add up exactly."""
    phases = sorted(use.phase_gpu_us.items(), key=lambda item: (_place(item[0]), item[0]))
    gpu_us = [us for _, us in phases]
    cost = None if cost_per_gpu_hour_usd is None else cost_micro_usd(sum(gpu_us), cost_per_gpu_hour_usd)
    costs: Sequence[int | None] = [None] * len(phases) if cost is None else shared(cost, gpu_us)
    return Charge(
        attempt=use.attempt,
        target=use.target,
        simulated=use.simulated,
        started_at=use.started_at,
        ended_at=use.ended_at,
        outcome=use.outcome,
        resumed_steps=use.resumed_steps,
        cost_per_gpu_hour_usd=cost_per_gpu_hour_usd,
        gpu_us=sum(gpu_us),
        cost_micro_usd=cost,
        phases=tuple(PhaseCharge(name, us, cost) for (name, us), cost in zip(phases, costs, strict=True)),
    )


def cost_micro_usd(gpu_us: int, cost_per_gpu_hour_usd: float) -> int:
    """Device time at a price, to the nearest millionth of a dollar. The price counts as written, in decimals."""
    return round(Fraction(repr(cost_per_gpu_hour_usd)) * gpu_us / SECONDS_PER_HOUR)


def shared(total: int, sizes: Sequence[int]) -> list[int]:
    """Whole parts of `total` in proportion to `sizes` that add up to it: the largest remainders get what is left."""
    whole = sum(sizes)
    if whole == 0:
        return [total if i == 0 else 0 for i in range(len(sizes))]
    parts = [total * size // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (-(total * sizes[i] % whole), i))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts


def _place(phase: str) -> int:
    return _PHASES.index(phase) if phase in _PHASES else len(_PHASES)
