"""Runtimes that are to run until they are stopped: whatever happens to their workers, they are started again."""

import asyncio

from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.facts import Failure
from services.scheduler.domain.fleet import Pin
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import RenderStatus
from tests.unit.scheduler.house_bench import H200, FixedCatalog, slots

ANY = Pin()


def slow(**changes):
    return ScriptedWorkers(**{"step_seconds": 10.0, "total_steps": 6} | changes)


async def kept(house, slug="alpha", gpu_type="H200"):
    runtime, _ = await house.assembly.view.start(slug, "", Pin(gpu_type), keep_warm=True, idle_release_seconds=None)
    return runtime


async def warm(house, slug="alpha"):
    """The runtimes of a version that are warm: their targets, and whether they are kept."""
    runtimes = [view.runtime for view in (await house.assembly.view.family(slug, ""))[1]]
    return [(str(runtime.target), runtime.keep_warm) for runtime in runtimes if runtime.status == "warm"]


async def stop(house, slug="alpha"):
    return (await house.assembly.view.stop(slug, "", ANY))[1]


async def test_a_worker_that_dies_is_replaced_on_its_target_and_kept_like_it(open_clockwork):
    async with open_clockwork(slow()) as house:
        runtime = await kept(house)
        await house.workers.kill(runtime.id)
        await house.clock.sleep(20.0)
        assert await warm(house) == [("H200@eu-north2", True)]
        await house.clock.sleep(1_000.0)
        assert await warm(house) == [("H200@eu-north2", True)]
        assert house.workers.launched == ["H200@eu-north2"] * 2


async def test_a_worker_that_dies_of_a_render_is_replaced_too(open_clockwork):
    async with open_clockwork(slow()) as house:
        runtime = await kept(house)
        render = await house.create()
        await house.until(render, lambda now: now.progress.done_steps == 1)
        await house.workers.kill(runtime.id)
        assert (await house.finished(render)).status is RenderStatus.SUCCEEDED
        await house.clock.sleep(20.0)
        assert ("H200@eu-north2", True) in await warm(house)


async def test_one_that_was_stopped_is_not_replaced(open_clockwork):
    async with open_clockwork(slow()) as house:
        runtime = await kept(house)
        assert await stop(house) == 1
        await house.clock.sleep(60.0)
        assert await warm(house) == []
        again = await kept(house)
        assert again.id != runtime.id
        await house.workers.kill(again.id)
        await house.clock.sleep(6.0)  # it is missed, and not yet replaced
        await stop(house)
        await house.clock.sleep(60.0)
        assert await warm(house) == []


async def test_stopping_one_while_it_is_being_replaced_stops_it_for_good(open_clockwork):
    async with open_clockwork(slow(load_seconds=60.0)) as house:
        runtime = await kept(house)
        await house.workers.kill(runtime.id)
        await house.clock.sleep(30.0)
        await stop(house)
        await house.clock.sleep(200.0)
        assert await warm(house) == []
        assert house.assembly.runtimes.missed() == []


async def test_it_waits_for_a_slot_and_takes_it_when_one_is_free(open_clockwork):
    async with open_clockwork(slow(), fleet=slots(H200)) as house:
        runtime = await kept(house)
        other = await house.create(model="beta")
        await house.workers.kill(runtime.id)
        await house.until(other, lambda now: now.progress.done_steps == 1)
        await house.clock.sleep(15.0)
        assert await warm(house) == []
        await house.finished(other)
        await house.clock.sleep(15.0)
        assert await warm(house) == [("H200@eu-north2", True)]


async def test_a_start_that_fails_is_tried_again(open_clockwork):
    async with open_clockwork(slow()) as house:
        runtime = await kept(house)
        house.workers.load_failure = Failure("WEIGHTS_UNAVAILABLE", "the disk is being changed")
        await house.workers.kill(runtime.id)
        await house.clock.sleep(60.0)
        assert await warm(house) == []
        house.workers.load_failure = None
        await house.clock.sleep(15.0)
        assert await warm(house) == [("H200@eu-north2", True)]


async def test_a_start_that_never_was_warm_is_not_kept(open_clockwork):
    async with open_clockwork(slow(load_failure=Failure("WEIGHTS_UNAVAILABLE", "none"))) as house:
        await asyncio.gather(kept(house), return_exceptions=True)
        house.workers.load_failure = None
        await house.clock.sleep(60.0)
        assert await warm(house) == []


async def test_it_is_kept_over_a_scheduler_that_ends_and_over_one_that_dies(open_clockwork):
    workers = slow()
    async with open_clockwork(workers) as house:
        await kept(house)
    assert workers.workers == {}
    async with open_clockwork(workers) as house:
        await house.clock.sleep(15.0)
        assert await warm(house) == [("H200@eu-north2", True)]
        house.crash()
    await workers.kill(next(iter(workers.workers)))
    async with open_clockwork(workers) as house:
        await house.clock.sleep(15.0)
        assert await warm(house) == [("H200@eu-north2", True)]
        await stop(house)
    async with open_clockwork(workers) as house:
        await house.clock.sleep(15.0)
        assert await warm(house) == []


async def test_one_that_is_being_stopped_when_the_scheduler_ends_does_not_come_back(open_clockwork):
    class SlowToEnd(ScriptedWorkers):
        async def terminate(self, runtime_id, process, *, kindly=True):
            await asyncio.sleep(5.0)
            await super().terminate(runtime_id, process, kindly=kindly)

    workers = SlowToEnd()
    async with open_clockwork(workers) as house:
        await kept(house)
        stopping = asyncio.create_task(stop(house))
        await house.settle()
    await stopping
    async with open_clockwork(workers) as house:
        await house.clock.sleep(15.0)
        assert await warm(house) == []


async def test_nobody_minds_a_catalogue_that_does_not_answer_meanwhile(open_clockwork):
    catalog = FixedCatalog()
    async with open_clockwork(slow(), catalog=catalog, policy=Policy()) as house:
        runtime = await kept(house)
        catalog.answers = False
        await house.workers.kill(runtime.id)
        await house.clock.sleep(60.0)
        catalog.answers = True
        await house.clock.sleep(15.0)
        assert await warm(house) == [("H200@eu-north2", True)]


async def test_a_runtime_that_is_not_kept_is_not_missed(open_clockwork):
    async with open_clockwork(slow()) as house:
        runtime, _ = await house.assembly.view.start("alpha", "", ANY, keep_warm=False, idle_release_seconds=None)
        await house.workers.kill(runtime.id)
        await house.clock.sleep(60.0)
        assert await warm(house) == []
