"""Slots on machines that come and go: nothing starts where there is none, and waiting for one costs nothing."""

import pytest

from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.errors import MachineAbsent
from services.scheduler.domain.facts import Outcome
from services.scheduler.domain.fleet import Machine, Requirements
from services.scheduler.domain.render import RenderStatus
from tests.unit.scheduler.house_bench import H200, L40S, at_step
from tests.unit.scheduler.machines_bench import FLEET, NORTH, Machines, machine


async def told(house) -> dict[str, tuple[int, int, int]]:
    """Of each target, slots in all, free and absent ones."""
    found = await house.assembly.view.capacity()
    return {view.target.gpu_type: (view.total_slots, view.free_slots, view.absent_slots) for view in found}


@pytest.mark.parametrize(
    ("there", "count"),
    [
        (machine("north", 3.0), 3),
        (machine("north", 0.5), 0),
        (machine("south", 3.0), 0),
        (Machine({"zone": "north"}, {}), 0),
        (Machine({}, {"GPU": 3.0}), 0),
    ],
)
def test_a_machine_has_as_many_slots_as_its_labels_and_devices_allow(there, count):
    assert NORTH.count_on(there) == count


def test_the_scarcest_resource_says_how_many_there_are():
    assert Requirements((), (("CPU", 4.0), ("GPU", 1.0))).count_on(machine("north", 8.0)) == 2
    assert Requirements((), (("GPU", 0.1),)).count_on(machine("north", 0.3)) == 3


def test_a_fleet_never_has_more_slots_than_its_file_says():
    assert FLEET.room_on([machine("north", 8.0), machine("north", 8.0)]) == (2, 0)


async def test_a_render_waits_for_a_machine_and_starts_when_it_comes(open_clockwork):
    cluster = Machines()
    async with open_clockwork(cluster=cluster, fleet=FLEET) as house:
        render = await house.create(gpu_type="L40S")
        await house.clock.sleep(120.0)
        waiting = await house.get(render)
        assert (waiting.status, waiting.attempt) == (RenderStatus.QUEUED, 0)
        assert waiting.explanation == "waits: it is next; no machine with L40S@eu-north1 is there"
        assert waiting.progress.eta_seconds_p50 is None
        assert house.workers.launched == []
        cluster.are(machine("north"))
        await house.clock.sleep(120.0)
        assert (await house.get(render)).status is RenderStatus.QUEUED
        cluster.are(machine("north"), machine("south"))
        assert (await house.finished(render)).status is RenderStatus.SUCCEEDED
        assert house.workers.launched == [str(L40S)]


async def test_a_render_without_a_pin_goes_to_whatever_is_there(open_clockwork):
    async with open_clockwork(cluster=Machines(machine("north")), fleet=FLEET) as house:
        ended = await house.finished(await house.create())  # L40S would be cheaper
        assert ended.attempts[-1].target == H200


async def test_no_more_start_than_machines_have_room_for(open_clockwork):
    cluster = Machines(machine("north"))
    workers = ScriptedWorkers(step_seconds=10.0)
    async with open_clockwork(workers, cluster=cluster, fleet=FLEET) as house:
        first, second = [await house.create(gpu_type="H200") for _ in range(2)]
        await house.until(first, at_step(1))
        assert "; the slot of H200@eu-north2 is busy" in (await house.get(second)).explanation
        cluster.are(machine("north", 2.0))
        await house.until(second, at_step(1))
        assert not (await house.get(first)).is_final


async def test_what_a_target_has_is_told_with_what_is_absent(open_clockwork):
    cluster = Machines(machine("north"))
    workers = ScriptedWorkers(step_seconds=10.0)
    async with open_clockwork(workers, cluster=cluster, fleet=FLEET) as house:
        await house.clock.sleep(1.0)
        assert await told(house) == {"H200": (2, 1, 1), "L40S": (1, 0, 1)}
        render = await house.create(gpu_type="H200")
        await house.until(render, at_step(1))
        assert await told(house) == {"H200": (2, 0, 1), "L40S": (1, 0, 1)}
        cluster.are()  # the cluster does not answer, but the worker does
        await house.clock.sleep(1.0)
        assert await told(house) == {"H200": (2, 0, 1), "L40S": (1, 0, 1)}
        assert (await house.finished(render)).attempt == 1
        again = await house.finished(await house.create(gpu_type="H200"))  # on the warm one
        assert again.status is RenderStatus.SUCCEEDED
        assert len(house.workers.launched) == 1


async def test_a_render_whose_machine_went_away_before_its_start_loses_nothing_and_pays_nothing(open_clockwork):
    cluster = Machines(machine("south"))
    workers = ScriptedWorkers()
    losing = workers.launch

    async def launch(runtime_id, slot):
        await house.clock.sleep(40.0)
        if len(workers.terminated) + len(absent) < 5:
            absent.append(runtime_id)
            raise MachineAbsent("its machine went away")
        return await losing(runtime_id, slot)

    absent: list[str] = []
    workers.launch = launch
    async with open_clockwork(workers, cluster=cluster, fleet=FLEET) as house:
        render = await house.create(gpu_type="L40S")
        ended = await house.finished(render)
        assert (ended.status, ended.losses) == (RenderStatus.SUCCEEDED, 0)
        *before, last = ended.attempts
        assert [attempt.outcome for attempt in before] == [Outcome.RELEASED] * 5
        assert {attempt.message for attempt in before} == {
            "released: the runtime could not be started: its machine went away"
        }
        assert [(a.gpu_seconds, a.microdollars) for a in before] == [(0.0, 0)] * 5
        assert last.gpu_seconds >= 40.0
