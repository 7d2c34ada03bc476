"""What is left of a probe at its end, and what does not end it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.adapters.sql_probes import SqlProbeStore
from services.scheduler.domain.facts import Failure
from services.scheduler.domain.fleet import Fleet, Pin, Slot
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.probe import PROBE_ACCOUNT, Origin
from services.scheduler.domain.runtime import RuntimeStatus
from services.scheduler.probe_ports import TargetRow
from tests.unit.scheduler.house_bench import H200, L40S, slots
from tests.unit.scheduler.probes_bench import (
    CPU,
    EXAMPLE,
    ONE_SLOT,
    ProbedCatalog,
    at_run,
    ended,
    made,
    probes_of,
    renders,
    until,
)


def slow(**changes):
    return ScriptedWorkers(step_seconds=10.0, **changes)


@pytest.fixture
def open_lab(open_clockwork):
    def opening(workers=None, **more):
        parts = {"fleet": ONE_SLOT, "catalog": ProbedCatalog()} | more
        return open_clockwork(workers or slow(), **parts)

    return opening


def holders(house):
    return [(runtime.slug, runtime.status) for runtime in house.assembly.runtimes.all() if runtime.occupies_slot]


async def all_renders(house):
    return (await house.store.page(PROBE_ACCOUNT, status=None, slug=None, size=100, beyond=None)).renders


async def test_a_runtime_that_a_render_has_been_on_outlasts_the_probe(open_lab):
    async with open_lab() as house:
        probe = await until(house, await made(house), at_run(1))
        await house.finished(await house.create())
        assert (await ended(house, probe)).status == "succeeded"
        await house.clock.sleep(10.0)
        assert holders(house) == [("alpha", RuntimeStatus.WARM)]


async def test_a_runtime_that_is_kept_warm_is_measured_warm_and_stays(open_lab):
    async with open_lab() as house:
        await house.assembly.view.start("alpha", "", Pin(), keep_warm=True, idle_release_seconds=None)
        probe = await ended(house, await made(house))
        assert probe.status == "succeeded"
        assert [run.cold_start_ms for run in probe.runs] == [None] * 6
        await house.clock.sleep(10.0)
        assert holders(house) == [("alpha", RuntimeStatus.WARM)]


async def test_a_runtime_that_somebody_asked_to_stay_for_a_while_stays(open_lab):
    async with open_lab() as house:
        probe = await until(house, await made(house), at_run(1))
        await house.assembly.view.start("alpha", "", Pin(), keep_warm=False, idle_release_seconds=3000.0)
        await ended(house, probe)
        await house.clock.sleep(10.0)
        assert holders(house) == [("alpha", RuntimeStatus.WARM)]


async def test_a_probe_that_is_canceled_while_its_runtime_starts_frees_the_slot_at_once(open_lab):
    async with open_lab(slow(load_seconds=500.0)) as house:
        probe = await until(house, await made(house), lambda now: "starting" in now.message)
        assert (await probes_of(house).cancel(probe.id)).status == "canceled"
        await house.clock.sleep(5.0)
        assert holders(house) == []


async def test_a_probe_that_is_canceled_before_it_began_makes_no_run(open_lab):
    async with open_lab() as house:
        first = await house.create(model="beta")
        probe = await made(house)
        assert probe.message == "waits: the slot of CPU@local is busy, with beta"
        await probes_of(house).cancel(probe.id)
        await house.finished(first)
        await house.clock.sleep(2000.0)
        assert list(await all_renders(house)) == []


async def test_a_failed_probe_frees_its_slot(open_lab):
    async with open_lab() as house:
        house.workers.render_failure = Failure("INVALID_INPUT", "no")
        assert (await ended(house, await made(house))).status == "failed"
        await house.clock.sleep(5.0)
        assert holders(house) == []


async def test_an_example_that_does_not_run_fails_the_probe_with_what_is_wrong(open_lab):
    example = EXAMPLE | {"num_frames": 18.0}
    async with open_lab(catalog=ProbedCatalog(example, ())) as house:
        probe = await ended(house, await made(house))
    assert (probe.status, probe.reason) == ("failed", "INVALID_INPUT")
    assert "num_frames must be one more than a multiple of 4" in probe.message
    assert probe.runs[0].reason == "INVALID_INPUT"


async def test_without_further_sizes_it_warms_up_with_the_example(open_lab):
    async with open_lab(catalog=ProbedCatalog(sizes=())) as house:
        probe = await ended(house, await made(house, runs=2))
    assert [run.counts for run in probe.runs] == [False, True, True]
    assert [run.input for run in probe.runs] == [{}, {}, {}]


async def test_a_run_that_counts_is_made_again_when_it_was_the_first_on_its_runtime(open_lab):
    async with open_lab() as house:
        probe = await until(house, await made(house), at_run(2))
        await house.finished(await house.create(model="beta"))  # it has ended the probe's runtime
        await house.assembly.view.stop("beta", "", Pin())
        probe = await ended(house, probe)
    assert (probe.status, probe.yields) == ("succeeded", 1)
    assert [run.counts for run in probe.runs] == [False, True, False, True, True, False, False]
    assert [run.cold_start_ms is None for run in probe.runs] == [False, True, False, True, True, True, True]


async def test_a_store_that_is_away_for_a_while_ends_nothing(open_lab):
    async with open_lab() as house:
        probe = await until(house, await made(house), at_run(1))
        for _ in range(3):
            house.disk.is_away = True
            await house.clock.sleep(25.0)
            house.disk.is_away = False
            await house.clock.sleep(11.0)
        probe = await ended(house, probe)
        assert (probe.status, probe.yields) == ("succeeded", 0)
        assert len(await all_renders(house)) == len(probe.runs)


async def test_a_catalogue_that_is_away_for_a_while_ends_nothing(open_lab):
    catalog = ProbedCatalog()
    async with open_lab(catalog=catalog) as house:
        probe = await until(house, await made(house), at_run(0))
        catalog.answers = False
        waiting = await until(house, probe, lambda now: now.message.startswith("waits"))
        assert waiting.message == "waits: the catalogue does not answer"
        catalog.answers = True
        assert (await ended(house, probe)).status == "succeeded"


async def test_a_version_that_is_gone_from_the_catalogue_fails_its_probe(open_lab):
    class Emptied(ProbedCatalog):
        is_empty = False

        async def version(self, slug, model_version):
            return await super().version("gone" if self.is_empty else slug, model_version)

    catalog = Emptied()
    async with open_lab(catalog=catalog) as house:
        probe = await until(house, await made(house), renders)
        catalog.is_empty = True
        probe = await ended(house, probe)
    assert (probe.status, probe.reason) == ("failed", "MODEL_NOT_FOUND")


async def test_a_target_that_is_gone_from_the_fleet_fails_its_probe(open_lab):
    async with open_lab(fleet=slots(H200, L40S)) as house:
        probe = await made(house, pin=Pin("H200"))
        house.crash()
    async with open_lab(fleet=slots(L40S)) as again:
        probe = await ended(again, probe)
    assert probe.status == "failed"
    assert probe.reason in ("UNKNOWN_TARGET", "TARGET_NOT_OFFERED")


async def test_a_restart_makes_no_run_twice_although_its_key_is_forgotten(open_lab):
    policy = Policy(keys_ttl=timedelta(seconds=1))
    async with open_lab(policy=policy) as house:
        probe = await until(house, await made(house), at_run(1))
        await house.clock.sleep(5.0)
        house.crash()
    async with open_lab(house.workers, policy=policy) as again:
        probe = await ended(again, probe)
        assert probe.status == "succeeded"
        assert len(await all_renders(again)) == len(probe.runs)


async def test_a_run_whose_probe_was_canceled_just_before_a_crash_is_stopped_by_the_next_scheduler(open_lab):
    async with open_lab(slow(total_steps=100)) as house:
        probe = await until(house, await made(house), renders)
        now = house.clock.now()
        await SqlProbeStore(house.disk).advance(probe.id, lambda probe: probe.canceled(now))  # it came no further
        house.crash()
    async with open_lab(house.workers) as again:
        await again.clock.sleep(30.0)
        assert [render.status for render in await all_renders(again)] == ["canceled"]


async def test_a_probe_whose_runtime_is_warm_does_not_wait_for_an_older_one_that_must(open_lab):
    async with open_lab() as house:
        await house.finished(await house.create(model="beta"))
        older = await made(house, "alpha")
        younger = await made(house, "beta")
        assert (await ended(house, younger)).status == "succeeded"
        assert (await ended(house, older)).status == "succeeded"
        younger, older = [await probes_of(house).get(probe.id) for probe in (younger, older)]
        assert younger.ended_at <= older.started_at


async def test_one_probe_at_a_time_is_made_on_a_target_and_the_next_says_so(open_lab):
    async with open_lab() as house:
        first = await until(house, await made(house, "alpha"), renders)
        second = await made(house, "beta")
        assert second.message == "waits: alpha is probed on CPU@local first"
        assert (await ended(house, second)).status == "succeeded"
        assert (await probes_of(house).get(first.id)).status == "succeeded"


async def test_a_message_says_how_far_the_run_is(open_lab):
    async with open_lab() as house:
        probe = await until(house, await made(house), at_run(1))
        assert probe.message.startswith("run 2 of 6: denoising on CPU@local, step ")
        assert [run.status for run in probe.runs[:3]] == ["succeeded", "running", "queued"]


async def test_what_the_fleet_cannot_hold_does_not_keep_the_round_from_the_next(open_lab):
    class Heavy(ProbedCatalog):
        async def version(self, slug, model_version):
            version = await super().version(slug, model_version)
            return replace(version, vram_floor_gib=80.0 if slug == "alpha" else 24.0)

    class Rows:
        async def all(self):
            return [TargetRow(slug, "v1", "CPU", "local", False, "pending") for slug in ("alpha", "beta")]

    fleet = Fleet("small", (Slot("slot-0", CPU, "cuda:0", memory_gib=40.0),))
    async with open_lab(fleet=fleet, catalog=Heavy(), target_rows=Rows(), probe_round_seconds=600.0) as house:
        await house.clock.sleep(1200.0)
        page = await probes_of(house).page(slug="", status="", page_size=0, page_token="")
        assert [(probe.slug, probe.origin, probe.target) for probe in page.probes] == [("beta", Origin.SCHEDULED, CPU)]
