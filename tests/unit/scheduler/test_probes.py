"""Probes: what they render, when they may, whom they give way to, and what becomes of them."""

from collections.abc import Mapping
from typing import Any

import pytest

from services.chassis.errors import ForgeError, InvalidInput
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.facts import Failure
from services.scheduler.domain.fleet import Fleet, Pin
from services.scheduler.domain.probe import PROBE_ACCOUNT, Origin, Probe, ProbeNotFound
from services.scheduler.domain.runtime import RuntimeStatus
from services.scheduler.probe_ports import TargetRow
from tests.unit.scheduler.house_bench import H200, L40S, House, slots
from tests.unit.scheduler.probes_bench import ONE_SLOT, ProbedCatalog, ended, made, probes_of, until


@pytest.fixture
def open_lab(open_clockwork):
    def opening(workers: ScriptedWorkers | None = None, *, fleet: Fleet = ONE_SLOT, **more: Any):
        return open_clockwork(workers, fleet=fleet, catalog=ProbedCatalog(), **more)

    return opening


def rendered(house: House) -> list[Mapping[str, Any]]:
    return [assignment.inputs for assignment in house.workers.rendered]


async def test_a_probe_warms_up_with_the_first_size_then_renders_the_example_then_the_sizes(open_lab):
    async with open_lab() as house:
        probe = await ended(house, await made(house))
    assert probe.status == "succeeded"
    assert [inputs["num_frames"] for inputs in rendered(house)] == [5, 17, 17, 17, 5, 9]
    assert [run.counts for run in probe.runs] == [False, True, True, True, False, False]
    assert {inputs["prompt"] for inputs in rendered(house)} == {"a cat"}
    assert probe.runs[0].cold_start_ms is not None
    assert [run.cold_start_ms for run in probe.runs[1:]] == [None] * 5
    assert all(run.model_ms == 60 for run in probe.runs)
    assert "the example ran 3 times" in probe.message


async def test_its_renders_are_nobodys_and_are_in_the_ledger_as_its(open_lab):
    async with open_lab() as house:
        probe = await ended(house, await made(house, runs=1))
        page = await house.store.page(PROBE_ACCOUNT, status=None, slug=None, size=100, beyond=None)
        mine = await house.assembly.scheduler.page("ann", status="", slug="", page_size=0, page_token="")
    assert {render.probe_id for render in page.renders} == {probe.id}
    assert len(page.renders) == 4
    assert mine.renders == []


async def test_each_target_that_fits_gets_one_and_a_second_request_finds_them(open_lab):
    async with open_lab(fleet=slots(H200, L40S)) as house:
        first = await probes_of(house).create("alpha", "", Pin(), 0)
        again = await probes_of(house).create("alpha", "", Pin(), 0)
        assert [probe.target for probe in first] == sorted([H200, L40S])
        assert [probe.id for probe in again] == [probe.id for probe in first]
        for probe in first:
            assert (await ended(house, probe)).status == "succeeded"
        third = await probes_of(house).create("alpha", "", Pin("H200"), 0)
        assert third[0].id not in {probe.id for probe in first}


@pytest.mark.parametrize("runs", [-1, 101])
async def test_the_number_of_runs_has_bounds(open_lab, runs):
    async with open_lab() as house:
        with pytest.raises(InvalidInput):
            await made(house, runs=runs)


async def test_what_cannot_be_probed_is_told_as_for_a_render(open_lab):
    async with open_lab() as house:
        for slug, pin, reason in (
            ("gamma", Pin(), "MODEL_NOT_FOUND"),
            ("alpha", Pin("X1"), "UNKNOWN_TARGET"),
            ("alpha", Pin("B300"), "TARGET_NOT_OFFERED"),
        ):
            with pytest.raises(ForgeError) as told:
                await made(house, slug, pin)
            assert told.value.reason == reason
        with pytest.raises(ProbeNotFound):
            await probes_of(house).get("prb_none")


# Whom it keeps from what


async def test_a_render_that_comes_starts_within_a_step_and_the_probe_makes_its_run_again(open_lab):
    async with open_lab(ScriptedWorkers(step_seconds=10.0, total_steps=20)) as house:
        probe = await made(house)
        probe = await until(house, probe, lambda now: now.number == 1 and "denoising" in now.message)
        asked_at = house.clock.monotonic()
        render = await house.create(num_frames=9)
        await house.until(render, lambda now: now.status == "running")
        assert house.clock.monotonic() - asked_at < 25
        assert (await house.finished(render)).status == "succeeded"
        probe = await ended(house, probe)
    assert probe.status == "succeeded"
    assert probe.yields == 1
    assert sum(run.counts for run in probe.runs) == 3
    assert all(run.status == "succeeded" for run in probe.runs)


async def test_a_render_of_another_model_gets_the_slot_of_a_probe(open_lab):
    async with open_lab(ScriptedWorkers(step_seconds=10.0, total_steps=20)) as house:
        probe = await until(house, await made(house), lambda now: "denoising" in now.message)
        render = await house.finished(await house.create(model="beta"))
        assert render.status == "succeeded"
        waiting = await until(house, probe, lambda now: now.yields == 1)
        assert (
            "held by an idle runtime of beta"
            in (await until(house, waiting, lambda now: "waits" in now.message)).message
        )
        await house.assembly.view.stop("beta", "", Pin())
        assert (await ended(house, probe)).status == "succeeded"


async def test_a_start_of_a_probe_gives_way_at_once(open_lab):
    async with open_lab(ScriptedWorkers(step_seconds=1.0, load_seconds=500.0)) as house:
        await until(house, await made(house), lambda now: "starting" in now.message)
        began = house.clock.monotonic()
        render = await house.create(model="beta")
        running = await house.until(render, lambda now: now.status == "running")
        assert house.clock.monotonic() - began < 20
        assert running.was_cold_start


async def test_a_probe_ends_nobodys_idle_runtime_and_says_what_it_waits_for(open_lab):
    async with open_lab() as house:
        await house.finished(await house.create(model="beta"))
        probe = await until(house, await made(house), lambda now: now.message.startswith("waits"))
        assert "the slot of CPU@local is held by an idle runtime of beta, which frees it in" in probe.message
        await house.clock.sleep(100.0)
        assert [runtime.slug for runtime in house.assembly.runtimes.all()] == ["beta"]
        await house.clock.sleep(900.0)
        assert (await ended(house, probe)).status == "succeeded"


async def test_renders_that_wait_go_before_a_probe(open_lab):
    async with open_lab(ScriptedWorkers(step_seconds=10.0)) as house:
        renders = [await house.create(num_frames=9) for _ in range(3)]
        probe = await made(house)
        for render in renders:
            await house.finished(render)
        assert (await ended(house, probe)).status == "succeeded"
    assert [inputs["num_frames"] for inputs in rendered(house)][:4] == [9, 9, 9, 5]


async def test_a_warm_idle_runtime_of_its_version_is_ended_so_that_a_start_is_measured(open_lab):
    async with open_lab() as house:
        await house.finished(await house.create())
        probe = await ended(house, await made(house))
    assert probe.runs[0].cold_start_ms is not None


async def test_it_frees_the_slot_it_took_so_that_the_next_probe_has_it(open_lab):
    async with open_lab() as house:
        first, second = await made(house, "alpha"), await made(house, "beta")
        assert (await ended(house, first)).status == "succeeded"
        assert (await ended(house, second)).status == "succeeded"
        await house.clock.sleep(10.0)
        assert [runtime for runtime in house.assembly.runtimes.all() if runtime.occupies_slot] == []


# How it ends


async def test_a_run_that_fails_fails_the_probe_with_its_reason(open_lab):
    async with open_lab() as house:
        house.workers.render_failure = Failure("OUT_OF_MEMORY", "too little memory")
        probe = await ended(house, await made(house))
    assert (probe.status, probe.reason) == ("failed", "OUT_OF_MEMORY")
    assert "run 1 of 6 failed: too little memory" in probe.message
    assert probe.runs[0].reason == "OUT_OF_MEMORY"


async def test_a_runtime_that_does_not_start_fails_the_probe(open_lab):
    workers = ScriptedWorkers(load_failure=Failure("WEIGHTS_UNAVAILABLE", "no weights"))
    async with open_lab(workers) as house:
        probe = await ended(house, await made(house))
    assert (probe.status, probe.reason) == ("failed", "WEIGHTS_UNAVAILABLE")


async def test_a_canceled_probe_stops_its_run_and_frees_its_slot(open_lab):
    async with open_lab(ScriptedWorkers(step_seconds=10.0, total_steps=50)) as house:
        probe = await until(house, await made(house), lambda now: "denoising" in now.message)
        assert (await probes_of(house).cancel(probe.id)).status == "canceled"
        await house.clock.sleep(60.0)
        page = await house.store.page(PROBE_ACCOUNT, status=None, slug=None, size=10, beyond=None)
        assert {render.status for render in page.renders} == {"canceled"}
        assert house.assembly.runtimes.free_slots()
        assert (await probes_of(house).cancel(probe.id)).status == "canceled"


async def test_a_scheduler_that_dies_goes_on_with_its_probes_and_makes_no_run_twice(open_lab):
    async with open_lab(ScriptedWorkers(step_seconds=10.0)) as house:
        probe = await until(house, await made(house), lambda now: now.number == 2 and "denoising" in now.message)
        house.crash()
    async with open_lab(house.workers) as again:
        probe = await ended(again, probe)
        page = await again.store.page(PROBE_ACCOUNT, status=None, slug=None, size=100, beyond=None)
    assert probe.status == "succeeded"
    assert len(page.renders) == len(probe.runs)


# By itself


class FixedRows:
    """A performance table in which nothing is verified but what is named."""

    def __init__(self, *verified: str) -> None:
        self.verified = verified

    async def all(self):
        return [
            TargetRow(slug, "v1", "CPU", "local", False, "supported" if slug in self.verified else "pending")
            for slug in ("alpha", "beta")
        ] + [TargetRow("alpha", "v1", "H200", "eu-north2", True, "pending")]


async def scheduled(house: House) -> list[Probe]:
    page = await probes_of(house).page(slug="", status="", page_size=0, page_token="")
    return [probe for probe in page.probes if probe.origin is Origin.SCHEDULED]


async def test_what_is_not_verified_is_probed_by_itself_one_at_a_time_and_not_again_within_the_interval(open_lab):
    async with open_lab(target_rows=FixedRows("beta"), probe_round_seconds=3600.0) as house:
        await house.clock.sleep(3500.0)
        assert await scheduled(house) == []
        await house.clock.sleep(1800.0)
        (probe,) = await scheduled(house)
        assert (probe.slug, probe.status) == ("alpha", "succeeded")
        await house.clock.sleep(3600.0)
        assert len(await scheduled(house)) == 2


async def test_a_device_that_somebody_uses_is_not_probed_by_itself(open_lab):
    async with open_lab(target_rows=FixedRows(), probe_round_seconds=3600.0) as house:
        await house.assembly.view.start("beta", "", Pin(), keep_warm=True, idle_release_seconds=None)
        await house.clock.sleep(10_000.0)
        assert await scheduled(house) == []
        assert [runtime.status for runtime in house.assembly.runtimes.all()] == [RuntimeStatus.WARM]


async def test_an_imitated_device_is_never_probed_by_itself(open_lab):
    async with open_lab(fleet=slots(H200), target_rows=FixedRows("alpha", "beta"), probe_round_seconds=60.0) as house:
        await house.clock.sleep(1000.0)
        assert await scheduled(house) == []
