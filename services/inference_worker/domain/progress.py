"""How far an attempt is and how long it will still take, as shares of work rather than of steps."""

import statistics
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping

from services.inference_worker.domain.attempt import Phase, Reading

_WORKING = (Phase.ENCODING, Phase.DENOISING, Phase.DECODING, Phase.MUXING, Phase.STORING)
_REMEMBERED_SHAPES = 256

# What the later phases of an unmeasured shape may take beyond their share, in nine of ten cases.
_SLACK_KNOWN, _SLACK_GUESSED = 1.25, 2.0


class Pace:
    """What renders of each shape took in this process, so that the next of the same shape is foretold well.

    A shape is all that decides the cost of a render: every number it is asked with but its seed.
    """

    def __init__(self) -> None:
        self._seconds: OrderedDict[Hashable, Mapping[Phase, float]] = OrderedDict()

    def learn(self, shape: Hashable, seconds: Mapping[Phase, float]) -> None:
        """Remember what a finished render of this shape took in each phase."""
        self._seconds[shape] = dict(seconds)
        self._seconds.move_to_end(shape)
        while len(self._seconds) > _REMEMBERED_SHAPES:
            self._seconds.popitem(last=False)

    def seconds(self, shape: Hashable) -> Mapping[Phase, float] | None:
        """What the last render of this shape took; None when there was none."""
        return self._seconds.get(shape)


def shape_of(inputs: Mapping[str, object]) -> Hashable:
    """The shape of a render with these inputs."""
    numbers = {field: value for field, value in inputs.items() if isinstance(value, (int, float))}
    numbers.pop("seed", None)
    return frozenset(numbers.items())


class Meter:
    """Reads the progress of one attempt. `fraction` never falls and is 1 only when the attempt is done.

    `shares` guess how the work divides among the phases; `seconds`, when known, say it from experience.
    """

    def __init__(
        self, shares: Mapping[Phase, float], seconds: Mapping[Phase, float] | None, monotonic: Callable[[], float]
    ) -> None:
        expected = seconds or shares
        whole = sum(expected.get(phase, 0.0) for phase in _WORKING) or 1.0
        self._shares = {phase: expected.get(phase, 0.0) / whole for phase in _WORKING}
        self._known_seconds = whole if seconds else None
        self._slack = _SLACK_KNOWN if seconds else _SLACK_GUESSED
        self._monotonic = monotonic
        self._phase = Phase.ENCODING
        self._began: float | None = None
        self._spent: dict[Phase, float] = {}
        self._share_of_phase = 0.0
        self._steps: list[float] = []
        self._last_step = 0.0
        self._done_steps = self._total_steps = 0
        self._fraction = 0.0

    def enter(self, phase: Phase) -> None:
        """Begin a phase; the one before it ends."""
        now = self._monotonic()
        if self._began is not None:
            self._spent[self._phase] = self._spent.get(self._phase, 0.0) + now - self._began
        self._phase, self._began, self._last_step, self._share_of_phase = phase, now, now, 0.0

    def advance(self, share_of_phase: float) -> None:
        """So much of the phase's work is done, 0 to 1."""
        self._share_of_phase = min(1.0, max(self._share_of_phase, share_of_phase))

    def steps(self, done: int, total: int) -> None:
        """So many of the denoising steps are finished."""
        if done > self._done_steps:
            now = self._monotonic()
            self._steps.extend([(now - self._last_step) / (done - self._done_steps)] * (done - self._done_steps))
            self._last_step = now
        self._done_steps, self._total_steps = done, total

    def read(self) -> Reading:
        """The progress now."""
        if self._phase is Phase.DONE:
            self._fraction = 1.0
            eta_p50 = eta_p90 = 0.0
        else:
            before = sum(self._shares[phase] for phase in _WORKING[: _WORKING.index(self._phase)])
            # 1 is kept for the end, which storing may still miss.
            fraction = min(before + self._shares[self._phase] * self._share_of_phase, 0.999)
            self._fraction = max(self._fraction, fraction)
            eta_p50, eta_p90 = self._etas()
        return Reading(self._phase, self._done_steps, self._total_steps, self._fraction, eta_p50, eta_p90)

    def seconds_spent(self) -> Mapping[Phase, float]:
        """Seconds spent in each phase that has ended."""
        return dict(self._spent)

    def phase_ms(self) -> Mapping[Phase, int]:
        """Milliseconds spent in each phase that has ended."""
        return {phase: round(1000 * seconds) for phase, seconds in self._spent.items()}

    def _etas(self) -> tuple[float | None, float | None]:
        whole = self._whole_seconds()
        if whole is None or self._began is None:
            return None, None
        later = whole * sum(self._shares[phase] for phase in _WORKING[_WORKING.index(self._phase) + 1 :])
        spent = self._monotonic() - self._began
        if self._phase is Phase.DENOISING and self._steps:
            left = self._total_steps - self._done_steps
            p50, p90 = statistics.median(self._steps) * left, _p90(self._steps) * left
        elif self._share_of_phase:
            p50 = spent * (1 - self._share_of_phase) / self._share_of_phase
            p90 = p50 * _SLACK_KNOWN
        else:
            p50 = max(0.0, whole * self._shares[self._phase] - spent)
            p90 = p50 * self._slack
        return p50 + later, p90 + later * self._slack

    def _whole_seconds(self) -> float | None:
        """How long the attempt is expected to take: as this run's steps say, else as the last one's did."""
        if self._steps and self._shares[Phase.DENOISING]:
            return statistics.median(self._steps) * self._total_steps / self._shares[Phase.DENOISING]
        return self._known_seconds


def _p90(values: list[float]) -> float:
    """The value that nine of ten do not exceed."""
    return sorted(values)[max(0, -(-9 * len(values) // 10) - 1)]
