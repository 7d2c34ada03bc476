"""How far an attempt is and how long it will still take, as shares of work rather than of steps."""

import statistics
from collections.abc import Callable, Mapping

from services.inference_worker.domain.attempt import Phase, Reading

WORKING = (Phase.ENCODING, Phase.DENOISING, Phase.DECODING, Phase.MUXING, Phase.STORING)

# What may come on top of an ETA in nine of ten cases: of phases measured before, and of those only guessed.
_SLACK_KNOWN, _SLACK_GUESSED = 1.25, 2.0

# How much of what a phase was known to take is forgotten with each new measurement.
_FORGETTING = 0.5

# Phases that are over for good when a phase begins. Denoising and decoding may take turns.
_OVER: Mapping[Phase, tuple[Phase, ...]] = {
    Phase.ENCODING: (),
    Phase.DENOISING: (Phase.ENCODING,),
    Phase.DECODING: (Phase.ENCODING,),
    Phase.MUXING: (Phase.ENCODING, Phase.DENOISING, Phase.DECODING),
    Phase.STORING: (Phase.ENCODING, Phase.DENOISING, Phase.DECODING, Phase.MUXING),
    Phase.DONE: WORKING,
}


class Pace:
    """How long each phase took in this process, as a multiple of what was guessed for it."""

    def __init__(self) -> None:
        self._multiples: dict[Phase, float] = {}

    @property
    def multiples(self) -> Mapping[Phase, float]:
        """The multiples by phase; phases that were never measured are missing."""
        return dict(self._multiples)

    def learn(self, multiples: Mapping[Phase, float]) -> None:
        """Take note of what a finished attempt took."""
        for phase, new in multiples.items():
            old = self._multiples.get(phase, new)
            self._multiples[phase] = old + _FORGETTING * (new - old)


class Meter:
    """Reads the progress of one attempt. `fraction` never falls and is 1 only when the attempt is done.

    `guess_seconds` foretells each phase; `multiples` corrects it by what earlier attempts took, where that is known.
    What this attempt has measured of a phase by itself counts more than both.
    """

    def __init__(
        self,
        guess_seconds: Mapping[Phase, float],
        multiples: Mapping[Phase, float],
        monotonic: Callable[[], float],
    ) -> None:
        self._guess = {phase: guess_seconds.get(phase, 0.0) for phase in WORKING}
        self._multiples = multiples
        expected = {phase: guess * multiples.get(phase, 1.0) for phase, guess in self._guess.items()}
        whole = sum(expected.values()) or 1.0
        self._weights = {phase: seconds / whole for phase, seconds in expected.items()}
        self._monotonic = monotonic
        self._began = monotonic()
        self._phase = Phase.ENCODING
        self._since = self._began
        self._spent: dict[Phase, float] = {}
        self._shares: dict[Phase, float] = dict.fromkeys(WORKING, 0.0)
        self._brought: dict[Phase, float] = {}
        """Shares that a checkpoint brought: nobody spent time on them here."""
        self._step_multiples: list[float] = []
        """What each step took, as a multiple of what was guessed for it."""
        self._spent_at_step = 0.0
        self._done_steps = self._total_steps = 0
        self._foretold: list[tuple[float, float]] = []
        """When an ETA was read, and the ETA."""

    def enter(self, phase: Phase) -> None:
        """A phase begins or goes on; the one before it ends or waits."""
        self._count_time()
        self._phase = phase
        for over in _OVER[phase]:
            self._shares[over] = 1.0

    def advance(self, share_of_phase: float) -> None:
        """So much of the phase's work is done, 0 to 1."""
        self._count_time()
        if self._phase is not Phase.DONE:
            self._shares[self._phase] = min(1.0, max(self._shares[self._phase], share_of_phase))

    def steps(self, done: int, total: int, share_of_phase: float) -> None:
        """So many denoising steps are finished, that is this share of the work. The first call says where it begins."""
        before = self._shares[Phase.DENOISING]
        self.advance(share_of_phase)
        spent = self._spent.get(Phase.DENOISING, 0.0)
        work = (share_of_phase - before) * self._guess[Phase.DENOISING]
        if self._total_steps == 0:
            self._brought[Phase.DENOISING] = share_of_phase
        elif done > self._done_steps and work > 0:
            self._step_multiples.append((spent - self._spent_at_step) / work)
        if done > self._done_steps or self._total_steps == 0:
            self._spent_at_step = spent
        self._done_steps, self._total_steps = done, total

    def read(self) -> Reading:
        """The progress now. May be called from another thread than the one that tells of it."""
        if self._phase is Phase.DONE:
            return Reading(Phase.DONE, self._done_steps, self._total_steps, 1.0, 0.0, 0.0)
        # 1 is kept for the end, which storing may still miss.
        fraction = min(sum(self._weights[phase] * self._shares[phase] for phase in WORKING), 0.999)
        eta_p50, eta_p90 = self._etas()
        if eta_p50 is not None:
            self._foretold.append((self._monotonic(), eta_p50))
        return Reading(self._phase, self._done_steps, self._total_steps, fraction, eta_p50, eta_p90)

    def took(self) -> Mapping[Phase, float]:
        """What each phase took that is over, as a multiple of what was guessed for what was left of it."""
        done = {phase: self._guess[phase] * (1.0 - self._brought.get(phase, 0.0)) for phase in WORKING}
        return {
            phase: self._spent[phase] / done[phase]
            for phase in WORKING
            if self._shares[phase] == 1.0 and phase in self._spent and done[phase] > 0
        }

    def phase_ms(self) -> Mapping[Phase, int]:
        """Milliseconds spent in each phase so far, in their order."""
        return {phase: round(1000 * self._spent[phase]) for phase in WORKING if phase in self._spent}

    def eta_error(self) -> float | None:
        """How far the ETAs were off by now: the median of |foretold - true time left|, as a share of all the time."""
        end = self._monotonic()
        took = end - self._began
        if not self._foretold or took <= 0:
            return None
        return statistics.median(abs(eta - (end - when)) for when, eta in self._foretold) / took

    def _count_time(self) -> None:
        now = self._monotonic()
        if self._phase is not Phase.DONE:
            self._spent[self._phase] = self._spent.get(self._phase, 0.0) + now - self._since
        self._since = now

    def _etas(self) -> tuple[float | None, float | None]:
        measured = {phase: multiple for phase in WORKING if (multiple := self._measured_here(phase)) is not None}
        if not measured and not self._multiples:
            return None, None
        # A phase that nobody has measured is taken to be off by as much as those that were.
        guessed = statistics.median(measured.values() or self._multiples.values())
        p50 = p90 = 0.0
        for phase in WORKING:
            left = 1.0 - self._shares[phase]
            multiple = measured.get(phase, self._multiples.get(phase, guessed))
            seconds = self._guess[phase] * multiple * left
            seconds -= self._under_way(phase, seconds)
            p50 += seconds
            p90 += seconds * self._slack(phase, phase in measured or phase in self._multiples)
        return p50, p90

    def _under_way(self, phase: Phase, expected_seconds: float) -> float:
        """How much of what is expected of a phase goes into work that has begun and counts for no share yet.

        Of denoising that is at most one step: one that takes longer than expected leaves as much for the others.
        """
        spent = self._spent.get(phase, 0.0) + (self._monotonic() - self._since if phase is self._phase else 0.0)
        steps_left = self._total_steps - self._done_steps
        if phase is Phase.DENOISING and steps_left > 0:
            return min(max(0.0, spent - self._spent_at_step), expected_seconds / steps_left)
        return 0.0 if self._shares[phase] else min(spent, expected_seconds)

    def _measured_here(self, phase: Phase) -> float | None:
        """What this attempt took for a phase, as a multiple of the guess; None while it cannot say."""
        if phase is Phase.DENOISING:
            return statistics.median(self._step_multiples) if self._step_multiples else None
        done = self._guess[phase] * (self._shares[phase] - self._brought.get(phase, 0.0))
        # What takes no time worth mentioning is no measure of anything else.
        return (
            self._spent[phase] / done
            if done > 0 and phase in (Phase.DECODING, Phase.MUXING) and phase in self._spent
            else None
        )

    def _slack(self, phase: Phase, known: bool) -> float:
        if phase is Phase.DENOISING and self._step_multiples:
            return max(1.0, _p90(self._step_multiples) / (statistics.median(self._step_multiples) or 1.0))
        return _SLACK_KNOWN if known else _SLACK_GUESSED


def _p90(values: list[float]) -> float:
    """The value that nine of ten do not exceed."""
    return sorted(values)[max(0, -(-9 * len(values) // 10) - 1)]
