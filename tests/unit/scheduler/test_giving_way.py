"""Runs of probes are in nobody's way: they come last, are counted by nobody, and end for those who wait."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.demand import Demand, entry_of
from services.scheduler.domain.errors import NoFreeSlot
from services.scheduler.domain.facts import Prefer
from services.scheduler.domain.fleet import Fleet, Pin, Slot, Target
from services.scheduler.domain.giving_way import room_for
from services.scheduler.domain.occupancy import Occupancy
from services.scheduler.domain.placement import Situation, Wait
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.probe import PROBE_ACCOUNT
from services.scheduler.domain.render import Render
from services.scheduler.domain.runtime import Runtime, RuntimeStatus
from services.scheduler.domain.shares import Shares
from services.scheduler.usecases.queue import Queue
from tests.unit.scheduler.house_bench import H200, L40S, at_step, slots
from tests.unit.scheduler.probes_bench import ONE_SLOT, ProbedCatalog, ended, made, probes_of, renders, until

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TWO = slots(H200, L40S)
FULL = Wait(True, "all are busy")


@pytest.fixture
def open_lab(open_clockwork):
    def opening(fleet=TWO, **more):
        load_seconds, workers = more.pop("load_seconds", 0.0), more.pop("workers", None)
        workers = workers or ScriptedWorkers(step_seconds=10.0, total_steps=20, load_seconds=load_seconds)
        return open_clockwork(workers, fleet=fleet, catalog=ProbedCatalog(), **more)

    return opening


async def two_probes(house, slug="alpha"):
    """Probes on both targets, at their steps."""
    made_ = await probes_of(house).create(slug, "", Pin(), 0)
    return [await until(house, probe, renders) for probe in made_]


async def yields(house, probes):
    return [(await probes_of(house).get(probe.id)).yields for probe in probes]


async def test_one_run_ends_for_each_render_that_waits_and_no_more(open_lab):
    async with open_lab() as house:
        probes = await two_probes(house)
        render = await house.create(model="beta")
        await house.until(render, lambda now: now.status == "running")
        await house.clock.sleep(30.0)
        assert sum(await yields(house, probes)) == 1


async def test_as_many_runs_end_as_renders_wait(open_lab):
    async with open_lab() as house:
        probes = await two_probes(house)
        asked_at = house.clock.monotonic()
        for render in [await house.create(model="beta") for _ in range(5)][:2]:
            await house.until(render, lambda now: now.status == "running")
        assert house.clock.monotonic() - asked_at < 15
        assert await yields(house, probes) == [1, 1]


async def test_a_run_goes_on_where_another_slot_is_free(open_lab):
    async with open_lab() as house:
        probe = await until(house, await made(house, pin=Pin("H200")), renders)
        assert (await house.finished(await house.create(model="beta"))).status == "succeeded"
        assert await yields(house, [probe]) == [0]


async def test_a_run_goes_on_that_is_where_the_render_may_not_be(open_lab):
    async with open_lab() as house:
        probe = await until(house, await made(house, pin=Pin("H200")), renders)
        both = [await house.create(model="beta", gpu_type="L40S") for _ in range(2)]
        for render in both:
            await house.finished(render)
        assert await yields(house, [probe]) == [0]


async def test_a_render_of_the_probed_version_has_its_warm_runtime_within_a_step(open_lab):
    async with open_lab(ONE_SLOT, load_seconds=300.0) as house:
        probe = await until(house, await made(house), renders)
        asked_at = house.clock.monotonic()
        running = await house.until(await house.create(), lambda now: now.status == "running")
        assert house.clock.monotonic() - asked_at < 15
        assert running.was_cold_start is False
        await house.clock.sleep(1.0)
        assert await yields(house, [probe]) == [1]


async def test_a_render_of_the_probed_version_goes_on_with_its_start(open_lab):
    async with open_lab(ONE_SLOT, load_seconds=300.0) as house:
        probe = await until(house, await made(house), lambda now: "starting" in now.message)
        render = await house.finished(await house.create())
        assert render.status == "succeeded"
        assert len(house.workers.launched) == 1
        assert await yields(house, [probe]) == [1]


async def test_the_start_of_a_probe_is_abandoned_at_once_for_another_version(open_lab):
    async with open_lab(ONE_SLOT, load_seconds=300.0) as house:
        await until(house, await made(house), lambda now: "starting" in now.message)
        asked_at = house.clock.monotonic()
        running = await house.until(await house.create(model="beta"), lambda now: now.status == "running")
        assert house.clock.monotonic() - asked_at < 2
        assert running.was_cold_start


async def begin(house, slug, pin=None):
    """A runtime that somebody asked for, once it is warm."""
    runtime, _ = await house.assembly.view.start(slug, "", pin or Pin(), keep_warm=False, idle_release_seconds=None)
    return runtime


async def test_a_run_ends_within_a_step_for_a_start_that_somebody_asks_for(open_lab):
    async with open_lab(ONE_SLOT) as house:
        probe = await until(house, await made(house), renders)
        asked_at = house.clock.monotonic()
        runtime = await begin(house, "beta")
        assert (runtime.slug, runtime.status) == ("beta", RuntimeStatus.WARM)
        assert house.clock.monotonic() - asked_at < 15
        assert await yields(house, [probe]) == [1]
        assert "held by an idle runtime of beta" in (await probes_of(house).get(probe.id)).message


async def test_as_many_runs_end_as_starts_need(open_lab):
    async with open_lab() as house:
        probes = await two_probes(house)
        first, second = await asyncio.gather(*[begin(house, "beta", Pin(target.gpu_type)) for target in (H200, L40S)])
        assert first.target != second.target
        assert await yields(house, probes) == [1, 1]


async def test_one_run_ends_for_one_start(open_lab):
    async with open_lab() as house:
        probes = await two_probes(house)
        await begin(house, "beta")
        await house.clock.sleep(30.0)
        assert sum(await yields(house, probes)) == 1


async def test_a_start_that_no_probe_can_make_room_for_is_refused(open_lab):
    async with open_lab() as house:
        probe = await until(house, await made(house, pin=Pin("H200")), renders)
        await house.until(await house.create(model="alpha", gpu_type="L40S"), at_step(1))
        with pytest.raises(NoFreeSlot):
            await begin(house, "beta", Pin("L40S"))
        assert await yields(house, [probe]) == [0]


async def test_what_somebody_started_stays_when_the_probe_on_it_has_ended(open_lab):
    async with open_lab(ONE_SLOT) as house:
        probe = await until(house, await made(house), renders)
        runtime = await begin(house, "alpha")
        await ended(house, probe)
        assert house.assembly.runtimes.get(runtime.id).is_idle


async def test_a_run_on_a_runtime_that_is_kept_warm_goes_on_as_its_slot_would_not_be_free(open_lab):
    async with open_lab(ONE_SLOT) as house:
        await house.assembly.view.start("alpha", "", Pin(), keep_warm=True, idle_release_seconds=None)
        probe = await until(house, await made(house), renders)
        waiting = await house.create(model="beta")
        await house.clock.sleep(60.0)
        assert (await house.get(waiting)).status == "queued"
        assert await yields(house, [probe]) == [0]


async def test_a_render_that_its_account_holds_back_makes_no_run_end(open_lab):
    async with open_lab(policy=Policy(max_running_per_account=1)) as house:
        probe = await until(house, await made(house, pin=Pin("H200")), renders)
        both = [await house.create(model="beta") for _ in range(2)]
        await house.finished(both[0])
        assert await yields(house, [probe]) == [0]


async def test_runs_that_wait_make_no_render_be_refused_and_are_before_none(open_lab):
    async with open_lab(ONE_SLOT) as house:
        await house.until(await house.create("ann"), at_step(1))
        for number in range(3):
            run = replace(a_waiting(f"rnd_0{number}", PROBE_ACCOUNT, "prb_1"), created_at=house.clock.now())
            await house.store.accept(run, {"prompt": "a cat"}, "accepted", keys_since=NOON)
        house.crash()
    policy = Policy(max_queued_per_account=1, max_queued_gpu_seconds_per_target=1.0)
    async with open_lab(ONE_SLOT, workers=house.workers, policy=policy, probe_store=None) as again:
        second = await again.create("bob")
        assert second.progress.queue_position == 1
        await again.finished(second)
        assert again.workers.rendered[1].render_id == second.id


async def test_the_wait_for_a_probe_is_foretold_to_be_short(open_lab):
    async with open_lab(ONE_SLOT) as house:
        await house.finished(await house.create())
        await until(house, await made(house), lambda now: now.number == 1 and renders(now))
        render = await house.create()
        assert render.progress.eta_seconds_p50 == pytest.approx(200.0, abs=5.0)


# The queue


def a_waiting(name, account="ann", probe_id=""):
    return Render(id=name, account=account, slug="alpha", model_version="v1", created_at=NOON, probe_id=probe_id)


def test_what_waits_in_the_background_comes_after_all_others_whatever_its_share():
    queue, shares = Queue(), Shares()
    shares.reserve("earlier", "ann", 1000.0, 0.0)
    for render in (a_waiting("1", PROBE_ACCOUNT, "prb_1"), a_waiting("2"), a_waiting("3")):
        queue.note(render, waits=True)
    order = []
    while entry := queue.next(shares, (), ()):
        order.append(entry.render_id)
        queue.note(a_waiting(entry.render_id, entry.account), waits=False)
    assert order == ["2", "3", "1"]


def test_nobody_counts_what_waits_in_the_background_but_those_behind_it_there():
    queue = Queue()
    probe, render = a_waiting("1", PROBE_ACCOUNT, "prb_1"), a_waiting("2")
    behind = a_waiting("3", PROBE_ACCOUNT, "prb_1")
    for each in (probe, render, behind):
        queue.note(each, waits=True)
    rivals = {entry_of(probe).demand, entry_of(render).demand}
    assert queue.counts() == {entry_of(render).demand: 1}
    assert queue.position(entry_of(render), rivals) == 1
    assert queue.position(entry_of(behind), rivals) == 3


# Whose slot


def a_runtime(number, slug, status=RuntimeStatus.WARM, **changes):
    target = Target("T", "x")
    return Runtime(f"rt_{number}", slug, "v1", f"s{number}", target, status, NOON, NOON, render_id="r", **changes)


def test_what_is_of_use_soonest_gives_way_first():
    others = [
        a_runtime(1, "beta"),
        a_runtime(2, "beta", RuntimeStatus.STARTING),
        a_runtime(3, "alpha", RuntimeStatus.STARTING),
        a_runtime(4, "alpha"),
        a_runtime(5, "beta", keep_warm=True),
        a_runtime(6, "alpha"),
    ]
    fleet = Fleet("test", tuple(Slot(f"s{n}", Target("T", "x"), "cpu") for n in range(1, 7)))
    situation = Situation(Occupancy(fleet, others), 0.0, {}, lambda _: True, lambda _: None)
    demand = Demand("alpha", "v1", Pin(), Prefer.CHEAPEST)
    held = {"rt_1", "rt_2", "rt_3", "rt_4", "rt_5"}
    assert [runtime.id for runtime in room_for(demand, FULL, situation, held)] == ["rt_4", "rt_3", "rt_2", "rt_1"]
    waits_for_its_own = room_for(demand, Wait(False, "soon"), situation, held)
    assert [runtime.id for runtime in waits_for_its_own] == ["rt_4", "rt_3"]


def test_nothing_gives_way_on_a_target_that_is_spared():
    fleet = Fleet("test", (Slot("s1", Target("T", "x"), "cpu"),))
    situation = Situation(Occupancy(fleet, [a_runtime(1, "alpha")]), 0.0, {}, lambda _: False, lambda _: None)
    assert room_for(Demand("alpha", "v1", Pin(), Prefer.CHEAPEST), FULL, situation, {"rt_1"}) == []
