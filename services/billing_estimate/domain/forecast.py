"""What a run of one input is expected to take on one target: time, with an interval, and memory. No money here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from services.billing_estimate.domain.basis import CostBasis, Figure, History, Sample
from services.billing_estimate.domain.fit import Observation, fit_line, weight_of_age
from services.billing_estimate.domain.run_model import RunModel, learn, ratios_to

PUBLISHED_MARGIN = 1.5
"""p90 as a multiple of p50 where nothing was measured here."""
ENOUGH_SAMPLES = 10
"""From so many runs on their own spread says how far others may be off."""
NEWEST_SAMPLES = 100
"""Older runs weigh little; so many are fitted within milliseconds."""
_WIDENING = 0.25  # of p90, for each doubling beyond what was measured
_FARTHEST = 16.0  # a part of the work that was never measured at all is taken to be so far away
_WORTH_SAYING = 1.05


@dataclass(frozen=True)
class Forecast:
    """Times of a request to a warm runtime, and what is needed around it. None for what nobody knows.

    `extrapolation` is how many times more work the input is than the largest measured one, or how many times less than
    the smallest; 1 within. Memory is what the request is expected to need at most.
    """

    seconds_p50: float
    seconds_p90: float
    basis: str
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    cold_start_ms: int | None = None
    sample_count: int | None = None
    extrapolation: float | None = None
    caveats: tuple[str, ...] = ()
    peak_allocated_bytes: float | None = None
    peak_reserved_bytes: float | None = None

    @property
    def request_ms(self) -> int:
        """`seconds_p50` as the pages show it."""
        return round(self.seconds_p50 * 1000)

    @property
    def seconds_with_a_start(self) -> float:
        """Time that nine of ten stay within that start a runtime first, as far as the time of a start is known."""
        return (self.cold_start_ms or 0) / 1000 + self.seconds_p90


def forecast(basis: CostBasis, history: History) -> Forecast | None:
    """What the input is expected to take on the target; None when nobody knows a time."""
    if history.samples:
        return _measured(basis, history)
    figure = next((each for each in history.published if each.model_ms is not None), None)
    return None if figure is None else _published(basis, history, figure)


def _measured(basis: CostBasis, history: History) -> Forecast:
    samples = history.samples[:NEWEST_SAMPLES]
    model = learn(basis, samples)
    p50 = model.run_ms(basis.amounts) / 1000
    farther = _extrapolation(basis, samples)
    distance = max(farther, _distance(basis, [sample.amounts for sample in samples]))
    return Forecast(
        seconds_p50=p50,
        seconds_p90=p50 * _margin(model, samples) * _widened(distance),
        basis="simulated" if history.simulated else "measured",
        phase_seconds={phase: ms / 1000 for phase, ms in model.phase_ms(basis.amounts).items()},
        cold_start_ms=_cold_start_ms(history),
        sample_count=len(samples),
        extrapolation=farther,
        caveats=tuple(_caveats_of_measured(basis, history, farther)),
        peak_allocated_bytes=_peak(basis, [(s.memory, s.peak_allocated_bytes) for s in samples]),
        peak_reserved_bytes=_peak(basis, [(s.memory, s.peak_reserved_bytes) for s in samples]),
    )


def _published(basis: CostBasis, history: History, figure: Figure) -> Forecast:
    work = basis.work_of(basis.amounts)
    p50 = (figure.model_ms or 0) / 1000 * work
    caveats = ["published by others, not measured here"]
    if _ratio(work, 1.0) >= _WORTH_SAYING:
        caveats.append(f"scaled from the published example, whose work it has {work:.2g} times")
    if history.simulated:
        caveats.append("simulated: this fleet only imitates the device, and takes other times")
    return Forecast(
        seconds_p50=p50,
        seconds_p90=p50 * PUBLISHED_MARGIN * _widened(_distance(basis, [(1.0,) * len(basis.parts)])),
        basis="published",
        cold_start_ms=_cold_start_ms(history),
        sample_count=figure.sample_count,
        caveats=(*caveats, *_caveats_of_starts(history)),
    )


def _margin(model: RunModel, samples: Sequence[Sample]) -> float:
    """p90 as a multiple of p50, from how far the measured runs are off, and from how few they are.

    A model that was fitted to a run knows that run too well: what it is off by is stretched accordingly. The place
    of the quantile counts the run that is still to come.
    """
    count = len(samples)
    free = min(len({sample.amounts for sample in samples}), 1 + len(samples[0].amounts))
    stretch = math.sqrt(count / max(count - free, 1))
    ratios = sorted(1.0 + stretch * (ratio - 1.0) for ratio in ratios_to(model, samples))
    quantile = ratios[min(count, math.ceil(0.9 * (count + 1))) - 1]
    least = 1.0 if count >= ENOUGH_SAMPLES else 1.25 + 0.25 / count
    return max(quantile, least)


def _widened(distance: float) -> float:
    return 1.0 + _WIDENING * math.log2(distance)


def _extrapolation(basis: CostBasis, samples: Sequence[Sample]) -> float:
    measured = [basis.work_of(sample.amounts) for sample in samples]
    return _beyond(basis.work_of(basis.amounts), measured)


def _distance(basis: CostBasis, measured: Sequence[Sequence[float]]) -> float:
    """How far the input is from what was measured, part by part: as a factor, 1 where each part lies within."""
    logs = (
        part.share * math.log(_beyond(part.amount, [amounts[i] for amounts in measured]))
        for i, part in enumerate(basis.parts)
    )
    return math.exp(sum(logs))


def _beyond(amount: float, measured: Sequence[float]) -> float:
    """How many times an amount is more than the most that was measured, or less than the least; 1 within."""
    if amount > max(measured):
        return _ratio(amount, max(measured))
    return _ratio(amount, min(measured)) if amount < min(measured) else 1.0


def _ratio(one: float, other: float) -> float:
    """The larger as a multiple of the smaller."""
    smaller, larger = sorted((one, other))
    ratio = larger / smaller if smaller > larger / _FARTHEST else _FARTHEST
    return 1.0 if ratio < 1.0 + 1e-9 else ratio


def _cold_start_ms(history: History) -> int | None:
    if history.cold_start_ms:
        return round(median(history.cold_start_ms))
    return next((each.cold_start_ms for each in history.published if each.cold_start_ms is not None), None)


def _peak(basis: CostBasis, measured: Sequence[tuple[float, float | None]]) -> float | None:
    """Most memory the input is expected to need: a constant and a growing part, no less than smaller inputs needed."""
    known = [(memory, peak) for memory, peak in measured if peak is not None]
    if not known:
        return None
    observations = [
        Observation((memory,), peak, weight_of_age(age), least=1.0) for age, (memory, peak) in enumerate(known)
    ]
    line = fit_line(observations, (0.5,), constant_share=0.5)
    off = max(1.0, *(peak / max(line.at((memory,)), 1.0) for memory, peak in known))
    needed = [peak for memory, peak in known if memory <= basis.memory]
    return max([off * line.at((basis.memory,)), *needed])


def _caveats_of_measured(basis: CostBasis, history: History, extrapolation: float) -> list[str]:
    caveats = []
    if history.simulated:
        caveats.append("simulated: the times are those of an imitation")
    count = len(history.samples)
    if count < ENOUGH_SAMPLES:
        caveats.append(f"rests on {count} {'run' if count == 1 else 'runs'}")
    if extrapolation >= _WORTH_SAYING:
        least = min(basis.work_of(sample.amounts) for sample in history.samples[:NEWEST_SAMPLES])
        times = f"{extrapolation:.1f} times"
        if basis.work_of(basis.amounts) < least:
            caveats.append(f"{times} less work than the smallest measured run")
        else:
            caveats.append(f"{times} the work of the largest measured run")
    return [*caveats, *_caveats_of_starts(history)]


def _caveats_of_starts(history: History) -> list[str]:
    known = _cold_start_ms(history)
    if known is None:
        return ["nobody has measured how long a start takes"]
    return [] if history.cold_start_ms or not history.samples else ["the time of a start is published by others"]
