"""The device time of a warm run on one target, phase by phase, learned from measured runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.billing_estimate.domain.basis import CostBasis, Sample
from services.billing_estimate.domain.fit import Line, Observation, fit_line, weight_of_age

NOT_OF_A_RUN = frozenset({"queued", "starting"})
"""Phases before the run itself."""
_LEAST_SHARE = 0.01  # of a run: errors of a phase that takes less are not worth fitting

Amounts = Sequence[float]


@dataclass(frozen=True)
class _PhaseLine:
    phase: str
    parts: tuple[int, ...]
    line: Line

    def at(self, amounts: Amounts) -> float:
        return self.line.at([amounts[i] for i in self.parts])


@dataclass(frozen=True)
class RunModel:
    """What a run takes, in milliseconds.

    `constant_ms` are the phases that no part of the work belongs to, `rest_ms` is what a run takes beside its phases.
    Where no run said what its phases took there is one line over the whole, and no phases.
    """

    lines: tuple[_PhaseLine, ...]
    constant_ms: Mapping[str, float]
    rest_ms: float
    centre: float = 1.0
    """Makes half of the measured runs shorter and half longer than predicted."""

    def run_ms(self, amounts: Amounts) -> float:
        """The whole run."""
        phases = sum(line.at(amounts) for line in self.lines) + sum(self.constant_ms.values())
        return self.centre * (phases + self.rest_ms)

    def phase_ms(self, amounts: Amounts) -> dict[str, float]:
        """Each phase of it that is known."""
        found = {line.phase: line.at(amounts) for line in self.lines if line.phase} | dict(self.constant_ms)
        return {phase: self.centre * ms for phase, ms in found.items()}


def learn(basis: CostBasis, samples: Sequence[Sample]) -> RunModel:
    """The model of the samples, newest first; there MUST be one."""
    telling = [sample for sample in samples if _phases_of(sample)]
    uncentred = _by_phase(basis, telling) if telling else _as_a_whole(basis, samples)
    weights = [weight_of_age(age) for age in range(len(samples))]
    centre = weighted_median(ratios_to(uncentred, samples), weights)
    return RunModel(uncentred.lines, uncentred.constant_ms, uncentred.rest_ms, centre if centre > 0.0 else 1.0)


def ratios_to(model: RunModel, samples: Sequence[Sample]) -> list[float]:
    """What each run took as a multiple of what the model says."""
    return [sample.run_ms / max(model.run_ms(sample.amounts), 1.0) for sample in samples]


def weighted_median(values: Sequence[float], weights: Sequence[float]) -> float:
    """The value that half of the weight lies on either side of; between two values, their middle."""
    ordered = sorted(zip(values, weights, strict=True))
    half = sum(weights) / 2
    below = 0.0
    for place, (value, weight) in enumerate(ordered):
        below += weight
        if below > half * (1 + 1e-9):
            return value
        if below >= half * (1 - 1e-9) and place + 1 < len(ordered):
            return (value + ordered[place + 1][0]) / 2
    return ordered[-1][0]


def _by_phase(basis: CostBasis, samples: Sequence[Sample]) -> RunModel:
    weights = [weight_of_age(age) for age in range(len(samples))]
    phases = [_phases_of(sample) for sample in samples]
    working = dict.fromkeys(part.phase for part in basis.parts)
    lines = []
    for phase in working:
        parts = tuple(i for i, part in enumerate(basis.parts) if part.phase == phase)
        observations = [
            _observation(sample, parts, found[phase], weight)
            for sample, found, weight in zip(samples, phases, weights, strict=True)
            if phase in found
        ]
        if observations:  # a phase that no run tells of is in the rest
            shares = [basis.parts[i].share for i in parts]
            lines.append(_PhaseLine(phase, parts, fit_line(observations, shares)))
    others = sorted({phase for found in phases for phase in found} - working.keys())
    return RunModel(
        tuple(lines),
        {phase: weighted_median([found.get(phase, 0) for found in phases], weights) for phase in others},
        weighted_median(
            [max(0, sample.run_ms - sum(found.values())) for sample, found in zip(samples, phases, strict=True)],
            weights,
        ),
    )


def _as_a_whole(basis: CostBasis, samples: Sequence[Sample]) -> RunModel:
    parts = tuple(range(len(basis.parts)))
    observations = [
        _observation(sample, parts, sample.run_ms, weight_of_age(age)) for age, sample in enumerate(samples)
    ]
    line = fit_line(observations, [part.share for part in basis.parts], constant_share=0.0 if parts else 1.0)
    return RunModel((_PhaseLine("", parts, line),), {}, 0.0)


def _observation(sample: Sample, parts: tuple[int, ...], ms: float, weight: float) -> Observation:
    amounts = tuple(sample.amounts[i] for i in parts)
    return Observation(amounts, float(ms), weight, least=max(1.0, _LEAST_SHARE * sample.run_ms))


def _phases_of(sample: Sample) -> dict[str, int]:
    return {phase: ms for phase, ms in sample.phase_ms.items() if phase not in NOT_OF_A_RUN}
