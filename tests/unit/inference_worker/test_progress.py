"""Progress is a share of work, never falls, and foretells from what was measured."""

import pytest

from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.progress import Meter, Pace

GUESS = {Phase.ENCODING: 10, Phase.DENOISING: 60, Phase.DECODING: 20, Phase.MUXING: 10, Phase.STORING: 0}


class Time:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def meter(time):
    meter = Meter(GUESS, {}, time)
    meter.enter(Phase.ENCODING)
    return meter


def denoise(meter, time, work, seconds_per_work=1.0, first=0):
    """Steps of the given work, each taking so long."""
    meter.enter(Phase.DENOISING)
    meter.steps(first, len(work), sum(work[:first]) / sum(work))
    for done in range(first + 1, len(work) + 1):
        time.now += work[done - 1] * seconds_per_work
        meter.steps(done, len(work), sum(work[:done]) / sum(work))
        yield meter.read()


def test_fraction_counts_work_not_steps(meter, time):
    readings = list(denoise(meter, time, [1, 2, 3]))
    assert [reading.fraction for reading in readings] == pytest.approx(
        [0.1 + 0.6 * share for share in (1 / 6, 3 / 6, 1)]
    )
    assert [reading.done_steps for reading in readings] == [1, 2, 3]


def test_phases_that_take_turns_add_up(meter, time):
    steps = denoise(meter, time, [1, 1])
    next(steps)
    meter.enter(Phase.DECODING)
    meter.advance(0.5)
    assert meter.read().fraction == pytest.approx(0.1 + 0.3 + 0.1)
    meter.enter(Phase.DENOISING)
    assert next(steps).fraction == pytest.approx(0.1 + 0.6 + 0.1)


def test_fraction_never_falls(meter, time):
    list(denoise(meter, time, [1] * 10))
    meter.enter(Phase.DECODING)
    meter.advance(0.5)
    before = meter.read().fraction
    meter.advance(0.2)
    meter.enter(Phase.DENOISING)
    meter.steps(3, 10, 0.3)  # an attempt that goes on from a checkpoint after running out of memory
    assert meter.read().fraction == before


def test_fraction_is_one_only_when_done(meter):
    for phase in (Phase.DENOISING, Phase.DECODING, Phase.MUXING, Phase.STORING):
        meter.enter(phase)
        meter.advance(1.0)
        assert meter.read().fraction < 1
    meter.enter(Phase.DONE)
    assert meter.read().fraction == 1


def test_no_eta_before_anything_was_measured(meter):
    assert meter.read().eta_seconds_p50 is None
    meter.enter(Phase.DENOISING)
    assert meter.read().eta_seconds_p50 is None


def test_after_one_step_the_eta_is_the_sum_of_the_work_that_is_left(meter, time):
    reading = next(denoise(meter, time, [1, 2, 4, 8], seconds_per_work=8.0))
    # The guess for denoising was 60 for a work of 15; the step took twice that, so the rest is taken to do the same.
    assert reading.eta_seconds_p50 == pytest.approx(14 * 8 + 2 * 20 + 2 * 10)


def test_a_step_that_waited_for_decoding_is_not_taken_for_a_slow_one(meter, time):
    steps = denoise(meter, time, [1, 1, 1, 1], seconds_per_work=15.0)
    next(steps)
    meter.enter(Phase.DECODING)
    time.now += 10
    meter.advance(0.5)
    meter.enter(Phase.DENOISING)
    assert next(steps).eta_seconds_p50 == pytest.approx(2 * 15 + 10 + 10)


def test_steps_that_a_checkpoint_brought_are_no_measure_of_speed(meter, time):
    reading = next(denoise(meter, time, [1] * 6, seconds_per_work=10.0, first=3))
    assert reading.eta_seconds_p50 == pytest.approx(2 * 10 + 20 + 10)
    pace = Pace()
    list(denoise(meter, time, [1] * 6, seconds_per_work=10.0, first=4))
    meter.enter(Phase.DONE)
    pace.learn(meter.took())
    assert pace.multiples[Phase.DENOISING] == pytest.approx(1.0)


def test_the_pessimistic_eta_is_above_the_middle_one(meter, time):
    steps = denoise(meter, time, [1] * 5)
    next(steps)
    time.now += 5
    reading = next(steps)
    assert reading.eta_seconds_p90 > reading.eta_seconds_p50


def test_what_earlier_attempts_took_gives_an_eta_and_true_shares_from_the_start(time):
    pace = Pace()
    pace.learn({Phase.ENCODING: 0.1, Phase.DENOISING: 0.05, Phase.DECODING: 0.3, Phase.MUXING: 0.0})
    meter = Meter(GUESS, pace.multiples, time)
    meter.enter(Phase.ENCODING)
    assert meter.read().eta_seconds_p50 == pytest.approx(1 + 3 + 6)
    meter.enter(Phase.DENOISING)
    meter.steps(0, 1, 0.0)
    meter.steps(1, 1, 1.0)
    assert meter.read().fraction == pytest.approx(0.4)


def test_a_pace_follows_the_newest_attempts_without_forgetting_the_others():
    pace = Pace()
    pace.learn({Phase.DENOISING: 1.0})
    pace.learn({Phase.DENOISING: 3.0})
    assert 1.0 < pace.multiples[Phase.DENOISING] < 3.0


def test_phases_are_measured_apart_however_often_they_take_turns(meter, time):
    time.now += 1
    for _ in range(2):
        meter.enter(Phase.DENOISING)
        time.now += 2
        meter.enter(Phase.DECODING)
        time.now += 3
    meter.enter(Phase.DONE)
    time.now += 100
    assert meter.phase_ms() == {Phase.ENCODING: 1000, Phase.DENOISING: 4000, Phase.DECODING: 6000}


def test_a_true_eta_has_no_error(meter, time):
    readings = list(denoise(meter, time, [1] * 6, seconds_per_work=10.0))
    assert readings[-1].eta_seconds_p50 == pytest.approx(30)
    time.now += 30
    assert meter.eta_error() == pytest.approx(0.0)


def test_the_error_of_the_etas_is_what_they_were_off_by_as_a_share_of_the_attempt(meter, time):
    next(denoise(meter, time, [1] * 6, seconds_per_work=10.0))  # foretells 80 more seconds
    time.now += 40
    assert meter.eta_error() == pytest.approx((80 - 40) / 50)


def test_without_etas_there_is_no_error(meter, time):
    time.now += 10
    assert meter.eta_error() is None


def test_the_eta_falls_while_a_step_goes_on_but_by_no_more_than_is_expected_of_the_step(meter, time):
    steps = denoise(meter, time, [1] * 6, seconds_per_work=10.0)
    before = next(steps).eta_seconds_p50
    time.now += 4
    assert meter.read().eta_seconds_p50 == pytest.approx(before - 4)
    time.now += 100
    assert meter.read().eta_seconds_p50 == pytest.approx(before - 10)


def test_the_eta_does_not_fall_by_what_decoding_took_in_between(meter, time):
    next(denoise(meter, time, [1] * 6, seconds_per_work=10.0))
    meter.enter(Phase.DECODING)
    time.now += 8
    meter.advance(0.4)
    meter.enter(Phase.DENOISING)
    before = meter.read().eta_seconds_p50
    time.now += 3
    assert meter.read().eta_seconds_p50 == pytest.approx(before - 3)


def test_the_eta_falls_while_a_phase_has_nothing_to_show_yet_but_never_below_the_phases_after_it(time):
    meter = Meter(GUESS, {Phase.ENCODING: 1.0, Phase.DENOISING: 1.0, Phase.DECODING: 1.0, Phase.MUXING: 1.0}, time)
    meter.enter(Phase.MUXING)
    time.now += 4
    assert meter.read().eta_seconds_p50 == pytest.approx(6)
    time.now += 100
    assert meter.read().eta_seconds_p50 == 0
