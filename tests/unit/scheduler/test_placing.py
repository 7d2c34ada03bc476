"""Where a render goes, and in what words it is told."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.scheduler.domain.demand import Demand
from services.scheduler.domain.durations import Durations, Span
from services.scheduler.domain.facts import Prefer
from services.scheduler.domain.fleet import Fleet, Pin, Slot, Target
from services.scheduler.domain.occupancy import Occupancy
from services.scheduler.domain.placement import Expectation, Situation, Start, Take, Wait, place
from services.scheduler.domain.runtime import Runtime, RuntimeStatus

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
H200, L40S = Target("H200", "eu-north2"), Target("L40S", "eu-north1")
FLEET = Fleet("test", (Slot("big", H200, "cuda:0", 141.0), Slot("small", L40S, "cuda:1", 48.0)))
ALPHA = Demand("alpha", "v1", Pin(), Prefer.CHEAPEST)
TWENTY = Span(20.0, 30.0)
EXPECTED = {
    H200: Expectation(run=Span(10.0, 12.0), start=TWENTY, warm_usd=0.2, usd_per_hour=4.0),
    L40S: Expectation(run=Span(30.0, 40.0), start=TWENTY, warm_usd=0.1, usd_per_hour=2.0),
}


def a_runtime(slot_id, *, slug="alpha", status=RuntimeStatus.WARM, render_id=None, idle_minutes=0.0, **changes):
    target = {slot.id: slot.target for slot in FLEET.slots}[slot_id]
    used = NOON - timedelta(minutes=idle_minutes)
    runtime = Runtime(f"rt-{slot_id}", slug, "v1", slot_id, target, status, NOON, used, render_id=render_id)
    return replace(runtime, **changes)


def a_situation(*runtimes, remaining=None, closed=(), vram=24.0, expected=None):
    return Situation(
        occupancy=Occupancy(FLEET, runtimes),
        vram_floor_gib=vram,
        expectations=EXPECTED if expected is None else expected,
        lets_through=lambda target: target not in closed,
        remaining=lambda runtime: (remaining or {}).get(runtime.id),
    )


def placed(demand, *runtimes, ahead=0, **situation):
    return place(demand, a_situation(*runtimes, **situation), ahead=ahead)


def test_a_warm_idle_runtime_comes_first_even_where_another_target_is_preferred():
    warm = a_runtime("big")
    choice = placed(ALPHA, warm)
    assert choice == Take(warm, "a warm runtime was idle on H200@eu-north2")


@pytest.mark.parametrize(("prefer", "slot_id"), [(Prefer.CHEAPEST, "small"), (Prefer.FASTEST, "big")])
def test_among_warm_ones_and_among_free_slots_the_preference_decides(prefer, slot_id):
    demand = replace(ALPHA, prefer=prefer)
    warm = placed(demand, a_runtime("big"), a_runtime("small"))
    assert isinstance(warm, Take)
    assert warm.runtime.slot_id == slot_id
    cold = placed(demand)
    assert isinstance(cold, Start)
    assert (cold.slot.id, cold.evicted) == (slot_id, None)
    assert cold.why == f"started on {cold.slot.target}, the {prefer} of 2 free targets"


def test_the_fastest_start_counts_the_start_too():
    slow_to_start = EXPECTED | {H200: replace(EXPECTED[H200], start=Span(100.0, 100.0))}
    choice = placed(replace(ALPHA, prefer=Prefer.FASTEST), expected=slow_to_start)
    assert isinstance(choice, Start)
    assert choice.slot.id == "small"


def test_where_nobody_knows_prices_the_fleets_own_order_decides():
    choice = placed(ALPHA, expected={})
    assert isinstance(choice, Start)
    assert choice.slot.id == "big"


def test_a_start_that_is_under_way_for_nobody_is_taken_before_another_one_begins():
    starting = a_runtime("big", status=RuntimeStatus.STARTING)
    assert placed(ALPHA, starting) == Take(starting, "a runtime is starting on H200@eu-north2 already")
    claimed = replace(starting, render_id="somebody's")
    assert isinstance(placed(ALPHA, claimed), Start)


def test_a_pin_admits_its_target_only_and_a_version_needs_its_memory():
    choice = placed(replace(ALPHA, pin=Pin("H200")))
    assert isinstance(choice, Start)
    assert choice.slot.id == "big"
    assert choice.why == "started on H200@eu-north2, where a slot was free"
    large = placed(ALPHA, vram=100.0)
    assert isinstance(large, Start)
    assert large.slot.id == "big"


def test_targets_that_are_too_expensive_are_left_out():
    limited = replace(ALPHA, prefer=Prefer.FASTEST, targets=(L40S,))
    choice = placed(limited, a_runtime("big"))
    assert isinstance(choice, Start)
    assert choice.slot.id == "small"
    gone = placed(replace(ALPHA, targets=(Target("B300", "eu-north1"),)))
    assert gone == Wait(True, "no target that it may run on is offered any more")


def test_it_waits_for_a_warm_runtime_that_is_free_sooner_than_a_start_would_take():
    busy = a_runtime("big", render_id="other")
    soon = placed(ALPHA, busy, remaining={"rt-big": 15.0})
    assert soon == Wait(False, "a warm runtime is expected to be free in 15 s; a start takes 20 s")
    assert isinstance(placed(ALPHA, busy, remaining={"rt-big": 21.0}), Start)
    assert isinstance(placed(ALPHA, busy), Start), "nobody knows when it is free"


def test_with_enough_before_it_a_render_gets_a_runtime_of_its_own_although_a_warm_one_is_free_soon():
    busy = a_runtime("big", render_id="other")
    waits = [isinstance(placed(ALPHA, busy, remaining={"rt-big": 5.0}, ahead=ahead), Wait) for ahead in range(4)]
    assert waits == [True, True, False, False], "5 s, then 10 s more for each that goes before it; a start takes 20 s"


def test_a_start_on_its_way_for_another_render_is_waited_for_like_a_busy_one():
    claimed = a_runtime("big", status=RuntimeStatus.STARTING, render_id="other")
    assert isinstance(placed(ALPHA, claimed, remaining={"rt-big": 15.0}), Wait)
    draining = a_runtime("big", status=RuntimeStatus.DRAINING)
    assert isinstance(placed(ALPHA, draining, remaining={"rt-big": 0.0}), Start)


def test_in_a_full_fleet_the_runtime_that_idles_longest_makes_room():
    others = [a_runtime("big", slug="beta", idle_minutes=1), a_runtime("small", slug="gamma", idle_minutes=5)]
    choice = placed(ALPHA, *others)
    assert isinstance(choice, Start)
    assert (choice.slot.id, choice.evicted) == ("small", others[1])
    assert choice.why == "the runtime that was idle longest made room on L40S@eu-north1"
    pinned = placed(replace(ALPHA, pin=Pin("H200")), *others)
    assert isinstance(pinned, Start)
    assert pinned.evicted == others[0]


def test_neither_a_busy_runtime_nor_one_that_is_kept_warm_ever_makes_room():
    kept = a_runtime("big", slug="beta", keep_warm=True, idle_minutes=60)
    busy = a_runtime("small", slug="beta", render_id="other", idle_minutes=60)
    assert placed(ALPHA, kept, busy) == Wait(
        True, "all 2 slots of H200@eu-north2, L40S@eu-north1 are busy, 1 of them kept warm for other versions"
    )
    assert placed(replace(ALPHA, pin=Pin("L40S")), kept, busy) == Wait(True, "the slot of L40S@eu-north1 is busy")


@pytest.mark.parametrize("status", [RuntimeStatus.STARTING, RuntimeStatus.DRAINING])
def test_a_runtime_that_comes_or_goes_holds_its_slot(status):
    theirs = [a_runtime(name, slug="beta", status=status) for name in ("big", "small")]
    assert isinstance(placed(ALPHA, *theirs), Wait)


def test_a_failed_runtime_holds_no_slot():
    failed = [a_runtime(name, status=RuntimeStatus.FAILED) for name in ("big", "small")]
    assert isinstance(placed(ALPHA, *failed), Start)


def test_a_target_whose_circuit_is_open_gets_nothing_not_even_on_a_warm_runtime():
    choice = placed(ALPHA, a_runtime("big"), closed=(H200,))
    assert isinstance(choice, Start)
    assert choice.slot.id == "small"
    nowhere = placed(ALPHA, a_runtime("big"), closed=(H200, L40S))
    assert isinstance(nowhere, Wait)
    assert nowhere.is_full
    assert "spared for a while" in nowhere.why


def test_durations_are_those_seen_lately_in_the_middle_and_for_nine_of_ten():
    durations, key = Durations(), ("alpha", "v1", H200)
    assert durations.run(key) is None
    for seconds in range(1, 101):
        durations.ran(key, float(seconds))
    assert durations.run(key) == Span(75.0, 96.0), "of the last fifty"
    assert durations.start(key) is None
    durations.started(key, 5.0)
    assert durations.start(key) == Span(5.0, 5.0)


def test_a_large_fleet_is_not_gone_through_slot_by_slot():
    targets = [Target(f"GPU{number}", "x") for number in range(3)]
    fleet = Fleet("large", tuple(Slot(f"s{n}", targets[n % 3], "cuda:0", 80.0) for n in range(3_000)))
    busy = [
        Runtime(f"rt-{n}", "alpha", "v1", f"s{n}", targets[n % 3], RuntimeStatus.WARM, NOON, NOON, render_id="r")
        for n in range(2_999)
    ]
    asked = []
    situation = Situation(
        occupancy=Occupancy(fleet, busy),
        vram_floor_gib=24.0,
        expectations={},
        lets_through=lambda target: asked.append(target) or True,
        remaining=lambda _: None,
    )
    choice = place(replace(ALPHA, pin=Pin()), situation, ahead=0)
    assert isinstance(choice, Start)
    assert choice.slot.id == "s2999"
    assert asked == targets
