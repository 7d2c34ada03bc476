"""The fleet as developers and operators see it: starting, watching, keeping, stopping."""

import asyncio
from contextlib import aclosing

import pytest

from services.chassis.errors import ForgeError, InvalidInput
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.errors import NoFreeSlot, RuntimeBusy, RuntimeStartFailed, TargetNotOffered
from services.scheduler.domain.facts import Failure
from services.scheduler.domain.fleet import Pin, Slot
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import RenderStatus
from services.scheduler.domain.runtime import family_status
from services.scheduler.ports import WorkerProcess
from tests.unit.scheduler.house_bench import H200, L40S, FixedEstimates, slots

ANY = Pin()


def slow(**changes):
    return ScriptedWorkers(**{"step_seconds": 10.0, "total_steps": 6} | changes)


async def start(house, slug="alpha", pin=ANY, *, keep_warm=False, idle=None):
    return await house.assembly.view.start(slug, "", pin, keep_warm=keep_warm, idle_release_seconds=idle)


async def views(house, slug="alpha"):
    return (await house.assembly.view.family(slug, ""))[1]


async def statuses(house, slug="alpha"):
    return [view.runtime.status.value for view in await views(house, slug)]


async def test_a_start_answers_when_it_is_warm_and_the_next_one_at_once(open_clockwork):
    async with open_clockwork(slow(load_seconds=30.0)) as house:
        began = house.clock.monotonic()
        first, was_cold = await start(house)
        assert house.clock.monotonic() - began == pytest.approx(30.0, abs=1.0)
        second, was_cold_again = await start(house)
        assert (was_cold, was_cold_again, second.id) == (True, False, first.id)
        assert first.startup_ms == pytest.approx(30_000, abs=500)


async def test_two_that_start_the_same_at_once_share_one_start(open_clockwork):
    async with open_clockwork(slow(load_seconds=30.0)) as house:
        (first, _), (second, was_cold) = await asyncio.gather(start(house), start(house))
        assert (first.id, was_cold) == (second.id, True)


async def test_a_start_that_cannot_be_is_refused_with_why(open_clockwork):
    async with open_clockwork(slow(load_failure=Failure("WEIGHTS_UNAVAILABLE", "no weights"))) as house:
        with pytest.raises(RuntimeStartFailed, match="no weights"):
            await start(house)
        assert await statuses(house) == ["failed"]
        assert sum(view.free_slots for view in await house.assembly.view.capacity()) == 2
        with pytest.raises(TargetNotOffered):
            await start(house, pin=Pin("B300"))
        with pytest.raises(ForgeError, match="no such model"):
            await start(house, slug="gamma")


@pytest.mark.parametrize("seconds", [0.0, 0.5, -1.0, 86_401.0])
async def test_an_idle_time_out_of_bounds_is_refused(open_clockwork, seconds):
    async with open_clockwork() as house:
        with pytest.raises(InvalidInput, match="idle_release_seconds"):
            await start(house, idle=seconds)


async def test_an_idle_runtime_frees_its_slot_after_the_installations_time(open_clockwork):
    async with open_clockwork(policy=Policy(idle_release_seconds=100.0)) as house:
        await start(house)
        await house.clock.sleep(90.0)
        [view] = await views(house)
        assert view.idle_release_seconds == pytest.approx(10.0, abs=1.0)
        await house.clock.sleep(12.0)
        assert await views(house) == []
        assert house.workers.terminated[0][1] is True, "kindly"


async def test_a_start_may_say_how_long_its_runtime_stays(open_clockwork):
    async with open_clockwork(policy=Policy(idle_release_seconds=100.0)) as house:
        await start(house, idle=400.0)
        await house.clock.sleep(390.0)
        assert await statuses(house) == ["warm"]
        await house.clock.sleep(12.0)
        assert await statuses(house) == []


async def test_work_keeps_a_runtime_warm(open_clockwork):
    async with open_clockwork(slow(), policy=Policy(idle_release_seconds=100.0)) as house:
        await start(house)
        await house.clock.sleep(95.0)
        await house.finished(await house.create())
        await house.clock.sleep(95.0)
        assert await statuses(house) == ["warm"]


async def test_a_runtime_that_is_kept_warm_stays_and_makes_room_for_nobody(open_clockwork):
    async with open_clockwork(fleet=slots(H200)) as house:
        runtime, _ = await start(house, keep_warm=True)
        assert runtime.keep_warm
        await house.clock.sleep(1_000.0)
        [view] = await views(house)
        assert view.idle_release_seconds is None
        with pytest.raises(NoFreeSlot):
            await start(house, slug="beta")
        waiting = await house.create(model="beta")
        assert (await house.get(waiting)).status is RenderStatus.QUEUED


async def test_a_runtime_that_is_warm_already_can_be_kept_from_now_on(open_clockwork):
    async with open_clockwork() as house:
        await start(house)
        runtime, was_cold = await start(house, keep_warm=True)
        assert (runtime.keep_warm, was_cold) == (True, False)
        again, _ = await start(house)
        assert again.keep_warm, "asking without it takes nothing back"


async def test_what_a_runtime_costs_so_far_is_shown_and_grows(open_clockwork):
    async with open_clockwork() as house:
        await start(house, pin=Pin("H200"), keep_warm=True)
        await house.clock.sleep(360.0)
        [view] = await views(house)
        assert (view.runtime.usd_per_hour, view.cost_so_far_usd) == (4.5, pytest.approx(0.45, rel=0.01))


async def test_the_longest_idle_runtime_makes_room_for_another_version(open_clockwork):
    async with open_clockwork() as house:
        first = await house.finished(await house.create(gpu_type="H200"))
        await house.clock.sleep(10.0)
        await house.finished(await house.create(gpu_type="L40S"))
        other = await house.finished(await house.create(model="beta"))
        assert (other.status, other.target) == (RenderStatus.SUCCEEDED, first.target)
        assert house.workers.terminated == [(first.attempts[0].runtime_id, True)]


async def test_stopping_frees_all_slots_of_a_version_unless_one_renders(open_clockwork):
    async with open_clockwork(slow()) as house:
        for gpu_type in ("H200", "L40S"):
            await start(house, pin=Pin(gpu_type))
        render = await house.create(gpu_type="H200")
        await house.until(render, lambda now: now.progress.done_steps == 1)
        with pytest.raises(RuntimeBusy):
            await house.assembly.view.stop("alpha", "", ANY)
        assert (await house.assembly.view.stop("alpha", "", Pin("L40S")))[1] == 1
        await house.finished(render)
        await house.settle()
        assert (await house.assembly.view.stop("alpha", "", ANY))[1] == 1
        assert house.workers.workers == {}
        assert (await house.assembly.view.stop("alpha", "", ANY))[1] == 0


class SlowToEnd(ScriptedWorkers):
    """Workers that take their time to end."""

    async def terminate(self, runtime_id, process, *, kindly=True):
        await asyncio.sleep(5.0)
        await super().terminate(runtime_id, process, kindly=kindly)


async def test_a_stop_that_has_begun_leaves_nothing_for_a_render_to_take(open_clockwork):
    async with open_clockwork(SlowToEnd(step_seconds=10.0)) as house:
        for gpu_type in ("H200", "L40S"):
            await start(house, pin=Pin(gpu_type))
        stopping = asyncio.create_task(house.assembly.view.stop("alpha", "", ANY))
        await house.settle()
        ended = await house.finished(await house.create())
        assert (await stopping)[1] == 2
        assert (ended.status, ended.attempt) == (RenderStatus.SUCCEEDED, 1)


async def test_stopping_twice_at_once_is_as_good_as_once(open_clockwork):
    async with open_clockwork(SlowToEnd()) as house:
        for gpu_type in ("H200", "L40S"):
            await start(house, pin=Pin(gpu_type))
        stops = [house.assembly.view.stop("alpha", "", pin) for pin in (ANY, Pin("L40S"), ANY)]
        assert [stopped for _, stopped in await asyncio.gather(*stops)] == [2, 0, 0]
        assert house.workers.workers == {}


async def watched(house, seconds, slug="alpha"):
    """What a watcher of a version sees within `seconds`, without repetitions."""
    seen: list[str] = []
    async with aclosing(await house.assembly.view.watch(slug, "")) as states:
        try:
            async with asyncio.timeout(seconds):
                async for _, found in states:
                    line = ", ".join(
                        f"{view.runtime.status}/{view.runtime.start_phase}" for view in found
                    ) or family_status([])
                    if seen[-1:] != [line]:
                        seen.append(line)
        except TimeoutError:
            return seen
    return seen


async def test_a_watcher_sees_the_phases_of_a_start_and_the_end_at_once(open_clockwork):
    async with open_clockwork(slow(load_seconds=8.0), policy=Policy(idle_release_seconds=30.0)) as house:
        watching = asyncio.create_task(watched(house, 60.0))
        await house.settle()
        await start(house)
        seen = await watching
        assert seen == ["cold", "starting/", "starting/process", "starting/weights", "warm/", "draining/", "cold"]


async def test_a_watcher_hears_of_what_happened_while_it_was_told_of_something_else(open_clockwork):
    async with open_clockwork() as house, aclosing(await house.assembly.view.watch("alpha", "")) as states:
        assert (await anext(states))[1] == []
        await start(house)  # all of it happens before the watcher asks again
        began = house.clock.monotonic()
        [view] = (await anext(states))[1]
        assert view.runtime.status == "warm"
        assert house.clock.monotonic() - began < 1.0


async def test_a_watcher_hears_at_once_that_the_last_runtime_is_gone(open_clockwork):
    async with open_clockwork(SlowToEnd()) as house, aclosing(await house.assembly.view.watch("alpha", "")) as states:

        async def stopped_at():
            await house.assembly.view.stop("alpha", "", ANY)
            return house.clock.monotonic()

        await start(house)
        stopping = asyncio.create_task(stopped_at())
        while (await anext(states))[1] == []:
            pass  # it was not there yet
        while (await anext(states))[1] != []:
            pass
        assert house.clock.monotonic() - await stopping < 1.0


async def test_a_watcher_hears_something_at_least_every_fifteen_seconds(open_clockwork):
    async with open_clockwork() as house, aclosing(await house.assembly.view.watch("alpha", "")) as states:
        await anext(states)
        for _ in range(3):
            began = house.clock.monotonic()
            await anext(states)
            assert house.clock.monotonic() - began <= 15.0


async def test_progress_of_a_start_is_shown_in_bytes(open_clockwork):
    async with open_clockwork(slow(load_seconds=40.0)) as house:
        starting = asyncio.create_task(start(house))
        await house.clock.sleep(21.0)
        [view] = await views(house)
        assert (view.runtime.start_message, view.runtime.start_total_bytes) == ("loading", 1000.0)
        assert view.runtime.start_done_bytes == pytest.approx(500.0)
        runtime, _ = await starting
        assert (runtime.start_message, runtime.start_done_bytes) == ("", None)


async def test_a_deep_queue_gets_several_runtimes_and_the_surplus_goes_before_its_time(open_clockwork):
    estimates = FixedEstimates(request_seconds=60.0, start_seconds=30.0)
    policy = Policy(idle_release_seconds=900.0, scale_in_seconds=120.0)
    async with open_clockwork(slow(), fleet=slots(H200, L40S), policy=policy, estimates=estimates) as house:
        renders = [await house.create() for _ in range(6)]
        for render in renders:
            await house.finished(render)
        assert len({render.attempts[0].target for render in [await house.get(render) for render in renders]}) == 2
        await house.clock.sleep(100.0)
        assert await statuses(house) == ["warm", "warm"]
        await house.clock.sleep(60.0)
        assert await statuses(house) == ["warm"], "one is enough"
        await house.clock.sleep(600.0)
        assert await statuses(house) == ["warm"]


@pytest.mark.parametrize(("waiting", "runtimes"), [(3, 1), (4, 2)])
async def test_another_runtime_is_started_only_when_the_queue_is_deeper_than_a_start_is_long(
    open_clockwork, waiting, runtimes
):
    estimates = FixedEstimates(request_seconds=60.0)
    async with open_clockwork(slow(load_seconds=200.0), estimates=estimates) as house:
        first = await house.create()
        await house.until(first, lambda now: now.progress.done_steps == 1)
        for _ in range(waiting):  # the warm one is free in 50, 110, 170 and 230 s
            await house.create()
        await house.settle()
        assert len(house.workers.launched) == runtimes


async def test_capacity_counts_slots_runtimes_and_what_waits(open_clockwork):
    estimates = FixedEstimates(request_seconds=60.0)
    async with open_clockwork(slow(), estimates=estimates) as house:
        await start(house, pin=Pin("L40S"))
        running = await house.create(gpu_type="H200")
        await house.until(running, lambda now: now.progress.done_steps == 1)
        for _ in range(2):
            await house.create(gpu_type="H200")
        big, small = await house.assembly.view.capacity()
        assert (big.target, small.target) == (H200, L40S)
        assert (big.total_slots, big.free_slots, big.busy_runtimes, big.idle_runtimes) == (1, 0, 1, 0)
        assert (small.total_slots, small.free_slots, small.busy_runtimes, small.idle_runtimes) == (1, 0, 0, 1)
        assert (big.queued_renders, small.queued_renders) == (2, 0)
        assert (big.queued_gpu_seconds > 0, small.queued_gpu_seconds) == (True, 0.0)


class LingeringWorkers(ScriptedWorkers):
    """Processes that take seconds to go when their launch is given up."""

    async def launch(self, runtime_id: str, slot: Slot) -> WorkerProcess:
        try:
            await asyncio.sleep(30.0)
        except asyncio.CancelledError:
            await asyncio.sleep(3.0)
            raise
        return await super().launch(runtime_id, slot)


async def test_a_slot_is_free_only_once_the_process_of_a_start_that_was_given_up_is_gone(open_clockwork):
    async with open_clockwork(LingeringWorkers()) as house:
        starting = asyncio.create_task(start(house, pin=Pin(H200.gpu_type)))
        await asyncio.sleep(1.0)
        began = house.clock.monotonic()
        await house.assembly.view.stop("alpha", "", ANY)
        assert house.clock.monotonic() - began == pytest.approx(3.0, abs=0.5)
        assert await statuses(house) == []
        with pytest.raises(RuntimeStartFailed):
            await starting
