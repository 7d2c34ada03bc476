"""Progress is a share of work, never falls, and learns from the last render of the same shape."""

import pytest

from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.progress import Meter, Pace, shape_of

SHARES = {Phase.ENCODING: 10, Phase.DENOISING: 60, Phase.DECODING: 20, Phase.MUXING: 10, Phase.STORING: 0}


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
    meter = Meter(SHARES, None, time)
    meter.enter(Phase.ENCODING)
    return meter


def denoise(meter, time, done, total, seconds=2.0):
    for step in range(1, done + 1):
        time.now += seconds
        meter.steps(step, total)
        meter.advance(step / total)


def test_fraction_counts_work_not_steps(meter, time):
    meter.enter(Phase.DENOISING)
    denoise(meter, time, 5, 10)
    assert meter.read().fraction == pytest.approx(0.1 + 0.6 * 0.5)


def test_fraction_never_falls(meter, time):
    meter.enter(Phase.DENOISING)
    denoise(meter, time, 10, 10)
    before = meter.read().fraction
    meter.enter(Phase.DECODING)
    assert meter.read().fraction >= before
    meter.advance(0.5)
    meter.advance(0.2)
    assert meter.read().fraction == pytest.approx(0.7 + 0.2 * 0.5)


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


def test_the_eta_is_the_steps_left_at_the_pace_of_those_done_and_the_later_phases_by_share(meter, time):
    meter.enter(Phase.DENOISING)
    denoise(meter, time, 4, 10, seconds=3.0)
    assert meter.read().eta_seconds_p50 == pytest.approx(6 * 3.0 + 30.0 * 30 / 60)


def test_the_pessimistic_eta_is_above_the_middle_one(meter, time):
    meter.enter(Phase.DENOISING)
    denoise(meter, time, 3, 10, seconds=1.0)
    time.now += 5
    meter.steps(4, 10)
    reading = meter.read()
    assert reading.eta_seconds_p90 > reading.eta_seconds_p50


def test_a_shape_seen_before_has_an_eta_and_true_shares_from_the_start(time):
    pace = Pace()
    shape = shape_of({"width": 64, "seed": 1, "prompt": "a"})
    pace.learn(shape, {Phase.ENCODING: 1.0, Phase.DENOISING: 2.0, Phase.DECODING: 6.0, Phase.MUXING: 1.0})
    meter = Meter(SHARES, pace.seconds(shape_of({"width": 64, "seed": 2, "prompt": "b"})), time)
    meter.enter(Phase.ENCODING)
    assert meter.read().eta_seconds_p50 == pytest.approx(10.0)
    meter.enter(Phase.DECODING)
    assert meter.read().fraction == pytest.approx(0.3)


def test_another_size_is_another_shape():
    assert shape_of({"width": 64}) != shape_of({"width": 128})


def test_phases_are_measured_apart(meter, time):
    time.now += 1
    meter.enter(Phase.DENOISING)
    time.now += 2
    meter.enter(Phase.DECODING)
    assert meter.phase_ms() == {Phase.ENCODING: 1000, Phase.DENOISING: 2000}
