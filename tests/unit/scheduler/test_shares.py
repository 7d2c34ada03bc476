"""Who has used how much of the devices."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.domain.shares import DAY_SECONDS, HALF_LIFE_SECONDS, Day, Shares

seconds = st.floats(0.0, 1e6)


def test_what_was_used_counts_half_after_the_half_life():
    shares = Shares()
    shares.remember("ann", 80.0, 0.0, now=1000.0)
    assert shares.used("ann", 1000.0) == 80.0
    assert shares.used("ann", 1000.0 + HALF_LIFE_SECONDS) == pytest.approx(40.0)
    assert shares.used("ann", 1000.0 + 3 * HALF_LIFE_SECONDS) == pytest.approx(10.0)


def test_an_account_nobody_has_seen_has_used_nothing():
    assert Shares().used("ann", 5.0) == 0.0


def test_what_begins_counts_in_advance_and_is_set_right_when_it_ends():
    shares = Shares()
    shares.reserve("r1", "ann", 60.0, now=0.0)
    assert shares.used("ann", 0.0) == 60.0
    shares.settle("r1", 10.0, now=0.0)
    assert shares.used("ann", 0.0) == 10.0
    shares.settle("r1", 10.0, now=0.0)
    assert shares.used("ann", 0.0) == 10.0, "what has ended ends once"


def test_what_never_ran_costs_nothing():
    shares = Shares()
    shares.reserve("r1", "ann", 60.0, now=0.0)
    shares.settle("r1", None, now=0.0)
    assert shares.used("ann", 0.0) == 0.0


def test_a_render_that_begins_again_is_reserved_once():
    shares = Shares()
    shares.reserve("r1", "ann", 60.0, now=0.0)
    shares.reserve("r1", "ann", 30.0, now=0.0)
    assert shares.used("ann", 0.0) == 30.0


def test_what_was_used_before_anybody_counted_has_faded_since():
    shares = Shares()
    shares.remember("ann", 100.0, seconds_ago=HALF_LIFE_SECONDS, now=0.0)
    assert shares.used("ann", 0.0) == pytest.approx(50.0)


@given(st.lists(st.tuples(st.sampled_from(["reserve", "settle"]), st.integers(0, 3), seconds, seconds)))
def test_nobody_ever_has_used_less_than_nothing_and_accounts_do_not_mix(steps):
    shares, now = Shares(), 0.0
    for what, number, amount, passed in steps:
        now += passed
        if what == "reserve":
            shares.reserve(f"r{number}", "ann", amount, now)
        else:
            shares.settle(f"r{number}", amount, now)
        assert shares.used("ann", now) >= 0.0
        assert shares.used("bob", now) == 0.0


def test_a_day_counts_the_last_24_hours():
    day = Day()
    day.add("ann", 10.0, at=0.0)
    day.add("ann", 5.0, at=100.0)
    day.add("bob", 7.0, at=100.0)
    assert day.spent("ann", DAY_SECONDS - 1) == 15.0
    assert day.seconds_until_some_is_free("ann", DAY_SECONDS - 1) == 1.0
    assert day.spent("ann", DAY_SECONDS) == 5.0
    assert day.seconds_until_some_is_free("ann", DAY_SECONDS) == 100.0
    assert day.spent("ann", DAY_SECONDS + 100.0) == 0.0
    assert day.seconds_until_some_is_free("ann", DAY_SECONDS + 100.0) == 0.0
    assert day.spent("nobody", 0.0) == 0.0


@given(st.lists(st.tuples(seconds, seconds), max_size=30), seconds)
def test_a_day_is_the_sum_of_what_happened_within_it(uses, later):
    day, at, happened = Day(), 0.0, []
    for amount, passed in uses:
        at += passed
        day.add("ann", amount, at)
        happened.append((at, amount))
    now = at + later
    within = sum(amount for when, amount in happened if when > now - DAY_SECONDS)
    assert day.spent("ann", now) == pytest.approx(within)


def test_shares_that_are_taken_over_count_from_then_on_and_nothing_else_does():
    mine, theirs = Shares(), Shares()
    mine.remember("old", 50.0, 0.0, 0.0)
    theirs.remember("ann", 100.0, 0.0, 1_000.0)
    theirs.reserve("r1", "bob", 30.0, 1_000.0)
    mine.take_over(theirs.of_all(1_000.0), 5.0)
    assert mine.of_all(5.0) == {"ann": 100.0, "bob": 30.0}
    assert mine.used("ann", 5.0 + HALF_LIFE_SECONDS) == 50.0
    mine.settle("r1", 10.0, 5.0)
    assert mine.used("bob", 5.0) == 30.0, "its reservation is the other one's"


def test_a_day_that_is_taken_over_is_spent_until_its_oldest_use_is_free():
    mine, theirs = Day(), Day()
    mine.add("old", 3.0, at=0.0)
    theirs.add("ann", 10.0, at=100.0)
    theirs.add("ann", 5.0, at=400.0)
    now = 1_000.0
    mine.take_over(theirs.of_all(now), 7.0)
    assert mine.of_all(7.0) == {"ann": (15.0, DAY_SECONDS - 900.0)}
    assert mine.spent("old", 7.0) == 0.0
    assert mine.spent("ann", 7.0 + DAY_SECONDS - 899.0) == 0.0


@given(st.lists(st.tuples(st.sampled_from(["ann", "bob", "cy"]), seconds, seconds), max_size=20), seconds)
def test_who_weighs_more_has_used_more_at_whatever_moment(uses, later):
    shares, now = Shares(), 0.0
    for account, amount, passed in uses:
        now += passed
        shares.remember(account, amount, 0.0, now)
    for one, other in itertools.permutations(["ann", "bob", "cy"], 2):
        if shares.used(one, now) > shares.used(other, now) * (1 + 1e-6):
            assert shares.weight(one) > shares.weight(other)
            assert shares.used(one, now + later) >= shares.used(other, now + later)
    assert shares.weight("nobody") == -math.inf


def test_whoever_keeps_an_order_hears_once_of_each_account_whose_share_has_changed():
    shares = Shares()
    shares.reserve("r1", "ann", 5.0, 0.0)
    shares.remember("bob", 5.0, 0.0, 0.0)
    assert shares.changed() == {"ann", "bob"}
    assert shares.changed() == set()
    shares.settle("r1", 5.0, 1.0)
    assert shares.changed() == {"ann"}
    shares.take_over({"cy": 1.0}, 2.0)
    assert shares.changed() == {"ann", "bob", "cy"}
