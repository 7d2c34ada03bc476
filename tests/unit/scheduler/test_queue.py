"""Whose turn it is among the renders that wait."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.domain.demand import entry_of
from services.scheduler.domain.facts import Priority
from services.scheduler.domain.fleet import Pin, Target
from services.scheduler.domain.render import Render
from services.scheduler.domain.rota import Lines
from services.scheduler.domain.shares import Shares
from services.scheduler.usecases.queue import Queue

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ANY, H200 = Pin(), Pin("H200")


def a_waiting(name, account="ann", **changes):
    return Render(id=name, account=account, slug="alpha", model_version="v1", created_at=NOON, **changes)


def a_queue(*renders):
    queue = Queue()
    for render in renders:
        queue.note(render, waits=True)
    return queue


def handed_out(queue, shares, count, *, seconds=60.0):
    """The next renders, each taken to last as long as the others."""
    given_out = []
    for _ in range(count):
        entry = queue.next(shares, (), ())
        shares.reserve(entry.render_id, entry.account, seconds, 0.0)
        queue.note(a_waiting(entry.render_id, entry.account), waits=False)
        given_out.append(entry)
    return given_out


def next_name(queue, blocked=(), barred=()):
    entry = queue.next(Shares(), blocked, barred)
    return entry and entry.render_id


def named(entries):
    return [entry.render_id for entry in entries]


def test_nine_thousand_renders_of_one_account_do_not_hold_back_99_small_ones():
    small = [a_waiting(f"s{number:02}", f"small-{number:02}") for number in range(99)]
    queue = a_queue(*(a_waiting(f"b{number:04}", "big") for number in range(9_000)), *small)
    first = handed_out(queue, Shares(), 100)
    assert len({entry.account for entry in first}) == 100
    second = handed_out(queue, Shares(), 3)
    assert {entry.account for entry in second} == {"big"}, "who is alone has it all"


def test_accounts_take_turns_by_what_they_used_not_by_how_much_they_ask_for():
    queue = a_queue(*(a_waiting(f"a{number}", "ann") for number in range(6)), a_waiting("b0", "bob"))
    shares = Shares()
    assert named(handed_out(queue, shares, 3)) == ["a0", "b0", "a1"]
    queue.note(a_waiting("b1", "bob"), waits=True)
    assert named(handed_out(queue, shares, 2)) == ["b1", "a2"]


def test_an_account_that_used_more_goes_behind_whatever_the_priority_of_its_renders():
    queue = a_queue(a_waiting("a0", "ann", priority=Priority.HIGH), a_waiting("b0", "bob", priority=Priority.LOW))
    shares = Shares()
    shares.reserve("earlier", "ann", 1.0, 0.0)
    assert named(handed_out(queue, shares, 2)) == ["b0", "a0"]


def test_within_an_account_priority_goes_before_age_and_age_before_anything_else():
    queue = a_queue(
        a_waiting("1", priority=Priority.LOW),
        a_waiting("2"),
        a_waiting("3", priority=Priority.HIGH, pin=H200),
        a_waiting("4", priority=Priority.HIGH),
        a_waiting("5", pin=H200),
    )
    assert named(handed_out(queue, Shares(), 5)) == ["3", "4", "2", "5", "1"]


def test_demands_that_are_blocked_and_accounts_that_are_barred_are_passed_over():
    pinned, other = a_waiting("1", pin=H200), a_waiting("2")
    queue = a_queue(pinned, other, a_waiting("3", "bob"))
    assert next_name(queue, {entry_of(pinned).demand}) == "2"
    assert next_name(queue, {entry_of(pinned).demand}, {"ann"}) == "3"
    assert next_name(queue, {entry_of(pinned).demand, entry_of(other).demand}) is None
    assert next_name(Queue()) is None


def test_a_render_that_is_set_aside_is_passed_over_but_still_waits():
    first, second = a_waiting("1"), a_waiting("2")
    queue = a_queue(first, second)
    rivals = {entry_of(first).demand}
    queue.set_aside(entry_of(first))
    assert next_name(queue) == "2"
    assert "1" in queue
    assert (len(queue), queue.count("ann"), sum(queue.counts().values())) == (2, 2, 2)
    assert [queue.position(entry_of(render), rivals) for render in (first, second)] == [1, 2]
    queue.put_back(entry_of(first))
    assert next_name(queue) == "1"


def test_a_render_that_leaves_while_it_is_set_aside_does_not_come_back():
    first = a_waiting("1", deadline=NOON)
    queue = a_queue(first)
    queue.set_aside(entry_of(first))
    queue.note(first, waits=False)
    queue.put_back(entry_of(first))
    assert next_name(queue) is None
    assert (len(queue), queue.count("ann"), list(queue.overdue(NOON))) == (0, 0, [])


def test_noting_a_render_again_changes_how_it_waits_and_nothing_else():
    queue = a_queue(a_waiting("1", deadline=NOON), a_waiting("2"))
    queue.note(a_waiting("2", priority=Priority.HIGH), waits=True)
    queue.note(a_waiting("1"), waits=True)
    assert list(queue.overdue(NOON)) == []
    assert named(handed_out(queue, Shares(), 2)) == ["2", "1"]


def test_those_that_waited_too_long_are_found_the_longest_first():
    hour = timedelta(hours=1)
    queue = a_queue(
        a_waiting("1"),
        a_waiting("2", expires_at=NOON),
        a_waiting("3", deadline=NOON - hour, expires_at=NOON + hour),
        a_waiting("4", expires_at=NOON + hour),
    )
    assert list(queue.overdue(NOON)) == ["3", "2"]
    assert list(queue.overdue(NOON - 2 * hour)) == []


class CountedName(str):
    """An identifier that counts how often it is compared."""

    compared = itertools.count()

    def __lt__(self, other):
        next(self.compared)
        return str.__lt__(self, other)

    def __eq__(self, other):
        next(self.compared)
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def comparisons_of_next(waiting):
    queue = a_queue(
        *(a_waiting(CountedName(f"a{number:05}")) for number in range(waiting)), a_waiting(CountedName("b"), "bob")
    )
    before = next(CountedName.compared)
    queue.next(Shares(), (), ())
    return next(CountedName.compared) - before


def test_finding_the_next_one_costs_no_more_when_more_of_an_account_wait():
    assert comparisons_of_next(5_000) == comparisons_of_next(5)


waiting = st.lists(
    st.tuples(st.sampled_from(["ann", "bob", "cat"]), st.sampled_from(list(Priority)), st.sampled_from([ANY, H200])),
    max_size=30,
)


@given(waiting)
def test_places_in_the_queue_do_not_contradict_the_order_in_which_renders_are_handed_out(asked):
    renders = [
        a_waiting(f"r{number:02}", account, priority=priority, pin=pin)
        for number, (account, priority, pin) in enumerate(asked)
    ]
    queue = a_queue(*renders)
    rivals = {entry_of(render).demand for render in renders}
    places = {render.id: queue.position(entry_of(render), rivals) for render in renders}
    order = named(handed_out(queue, Shares(), len(renders)))
    assert sorted(order, key=lambda name: places[name]) == order, "who is told a smaller number goes first"
    accounts = len({render.account for render in renders})
    for true_place, name in enumerate(order, start=1):
        assert 1 <= places[name] <= true_place < places[name] + accounts


class TheSame:
    """A queue as anybody would write it who has all the time."""

    def __init__(self):
        self.entries, self.aside = {}, set()

    def next(self, blocked):
        ready = [e for e in self.entries.values() if e.render_id not in self.aside and e.demand not in blocked]
        return min(ready, key=lambda entry: entry.order, default=None)


operations = st.lists(
    st.tuples(
        st.sampled_from(["note", "leave", "aside", "back"]),
        st.integers(0, 5),
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(list(Priority)),
        st.sampled_from([ANY, H200]),
        st.sampled_from([None, NOON]),
    ),
    max_size=60,
)


@given(operations)
def test_whatever_comes_and_goes_the_queue_says_what_a_plain_list_would_say(steps):
    queue, same = Queue(), TheSame()
    for what, number, account, priority, pin, deadline in steps:
        name = f"{account}{number}"
        if what == "note":
            render = a_waiting(name, account, priority=priority, pin=pin, deadline=deadline)
            queue.note(render, waits=True)
            same.entries[name] = entry_of(render)
            same.aside.discard(name)
        elif what == "leave":
            queue.note(a_waiting(name, account), waits=False)
            same.entries.pop(name, None)
            same.aside.discard(name)
        elif what == "aside" and name in same.entries and name not in same.aside:
            queue.set_aside(same.entries[name])
            same.aside.add(name)
        elif what == "back" and name in same.entries:
            queue.put_back(same.entries[name])
            same.aside.discard(name)
        assert len(queue) == len(same.entries)
        assert sum(queue.counts().values()) == queue.count("ann") + queue.count("bob") == len(same.entries)
        assert set(queue.overdue(NOON)) == {name for name, entry in same.entries.items() if entry.give_up_at}
        for blocked in ((), {entry_of(a_waiting("x", pin=H200)).demand}):
            assert queue.next(Shares(), blocked, ()) == same.next(blocked)


@pytest.mark.parametrize("change", [{"affordable": (Target("H200", "eu-north2"),)}, {"pin": H200}, {"slug": "beta"}])
def test_renders_that_ask_for_something_else_are_blocked_on_their_own(change):
    plain = a_waiting("1")
    assert entry_of(plain).demand == entry_of(a_waiting("2", "bob", priority=Priority.LOW)).demand
    assert entry_of(plain).demand != entry_of(replace(plain, **change)).demand


def test_whose_turn_it_is_is_found_without_looking_at_every_account(monkeypatch):
    renders = [a_waiting(f"r{number:04}", f"account-{number % 1_000}") for number in range(5_000)]
    queue, shares = a_queue(*renders), Shares()
    for number in range(1_000):
        shares.remember(f"account-{number}", 10.0 + number, 0.0, 0.0)
    looked_at = []
    first_not = Lines.first_not

    def noted(self, blocked):
        looked_at.append(self)
        return first_not(self, blocked)

    monkeypatch.setattr(Lines, "first_not", noted)
    assert [entry.account for entry in handed_out(queue, shares, 3)] == ["account-0", "account-1", "account-2"]
    assert len(looked_at) == 3
    assert queue.next(shares, {entry_of(renders[0]).demand}, ()) is None
    assert len(looked_at) == 3, "when everything is blocked, nobody need be looked at"


def test_a_share_that_changes_changes_whose_turn_it_is():
    queue, shares = a_queue(a_waiting("a1", "ann"), a_waiting("b1", "bob"), a_waiting("b2", "bob")), Shares()

    def whose_turn(of=shares):
        entry = queue.next(of, (), ())
        return entry and entry.account

    shares.remember("ann", 5.0, 0.0, 0.0)
    assert whose_turn() == "bob"
    shares.remember("bob", 9.0, 0.0, 0.0)
    assert whose_turn() == "ann"
    assert whose_turn(Shares()) == "ann", "other shares are other turns"
    queue.drop("a1")
    assert whose_turn() == "bob"
