"""When a target is spared from a version, and when it is tried again."""

import pytest

from services.scheduler.domain.circuit import OPEN_SECONDS, WINDOW_SECONDS, Circuits
from services.scheduler.domain.fleet import Target

H200, L40S = Target("H200", "eu-north2"), Target("L40S", "eu-north1")
KEY = ("alpha", "v1", H200)
OTHERS = [("alpha", "v1", L40S), ("alpha", "v2", H200), ("beta", "v1", H200)]


def an_open_one(opened_at=0.0):
    circuits = Circuits()
    circuits.failed(KEY, opened_at)
    circuits.failed(KEY, opened_at)
    return circuits


def test_two_failures_within_the_window_open_the_circuit_of_that_version_on_that_target_only():
    circuits = Circuits()
    circuits.failed(KEY, 0.0)
    assert circuits.lets_through(KEY, 0.0)
    circuits.failed(KEY, WINDOW_SECONDS)
    assert not circuits.lets_through(KEY, WINDOW_SECONDS)
    assert all(circuits.lets_through(other, WINDOW_SECONDS) for other in OTHERS)


def test_failures_further_apart_than_the_window_open_nothing():
    circuits = Circuits()
    for now in range(0, 10_000, int(WINDOW_SECONDS) + 1):
        circuits.failed(KEY, float(now))
        assert circuits.lets_through(KEY, float(now))


def test_what_goes_well_between_two_failures_does_not_excuse_them():
    circuits = Circuits()
    circuits.failed(KEY, 0.0)
    circuits.left(KEY, "fine", 1.0, well=True)
    circuits.failed(KEY, 2.0)
    assert not circuits.lets_through(KEY, 2.0)


def test_an_open_circuit_lets_one_render_through_after_its_time_and_no_second_one_beside_it():
    circuits = an_open_one()
    assert not circuits.lets_through(KEY, OPEN_SECONDS - 1)
    assert circuits.lets_through(KEY, OPEN_SECONDS)
    circuits.began(KEY, "trial")
    assert not circuits.lets_through(KEY, OPEN_SECONDS + 1)


def test_a_trial_that_goes_well_closes_the_circuit_and_forgets_what_was():
    circuits = an_open_one()
    circuits.began(KEY, "trial")
    circuits.left(KEY, "trial", OPEN_SECONDS + 1, well=True)
    assert circuits.lets_through(KEY, OPEN_SECONDS + 1)
    assert circuits.open(OPEN_SECONDS + 1) == {}
    circuits.failed(KEY, OPEN_SECONDS + 2)
    assert circuits.lets_through(KEY, OPEN_SECONDS + 2)


def test_a_trial_that_loses_its_worker_opens_the_circuit_for_as_long_again():
    circuits = an_open_one()
    circuits.began(KEY, "trial")
    circuits.left(KEY, "trial", OPEN_SECONDS + 5, well=False)
    assert not circuits.lets_through(KEY, 2 * OPEN_SECONDS + 4)
    assert circuits.lets_through(KEY, 2 * OPEN_SECONDS + 5)


def test_a_trial_that_was_taken_away_proves_nothing_and_the_next_one_may_follow_at_once():
    circuits = an_open_one()
    circuits.began(KEY, "trial")
    circuits.left(KEY, "trial", OPEN_SECONDS + 5, well=None)
    assert circuits.lets_through(KEY, OPEN_SECONDS + 5)
    circuits.began(KEY, "next")
    assert not circuits.lets_through(KEY, OPEN_SECONDS + 5)


@pytest.mark.parametrize("well", [True, False, None])
def test_a_render_that_was_there_before_neither_closes_a_circuit_too_early_nor_ends_the_trial(well):
    circuits = an_open_one()
    circuits.left(KEY, "from before", OPEN_SECONDS - 1, well=well)
    assert not circuits.lets_through(KEY, OPEN_SECONDS - 1)
    circuits.began(KEY, "trial")
    circuits.left(KEY, "from before", OPEN_SECONDS + 1, well=well)
    assert not circuits.lets_through(KEY, OPEN_SECONDS + 1)


def test_failures_of_before_a_restart_count_from_when_they_happened():
    circuits = Circuits()
    circuits.failed(KEY, 1000.0, seconds_ago=500.0)
    circuits.failed(KEY, 1000.0, seconds_ago=100.0)
    assert circuits.open(1000.0) == {KEY: 500.0}
    old = Circuits()
    old.failed(KEY, 1000.0, seconds_ago=WINDOW_SECONDS + 1)
    old.failed(KEY, 1000.0, seconds_ago=1.0)
    assert old.lets_through(KEY, 1000.0)


def test_open_circuits_are_shown_with_the_time_that_is_left():
    circuits = an_open_one()
    assert circuits.open(100.0) == {KEY: OPEN_SECONDS - 100.0}
    assert circuits.open(OPEN_SECONDS + 100.0) == {KEY: 0.0}
    assert circuits.open(0.0).keys() == {KEY}


def test_circuits_that_are_taken_over_are_open_for_as_long_as_they_were_and_no_others_are():
    mine = an_open_one()
    mine.take_over({OTHERS[0]: 5.0, OTHERS[1]: 0.0}, 1_000.0)
    assert mine.open(1_000.0) == {OTHERS[0]: 5.0, OTHERS[1]: 0.0}
    assert [mine.lets_through(key, 1_000.0) for key in (KEY, OTHERS[0], OTHERS[1])] == [True, False, True]
    assert mine.lets_through(OTHERS[0], 1_005.0)
