"""What a render is told of its future: its place, when it may end, and why it waits or runs where it does."""

import asyncio

import pytest

from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.fleet import Pin
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import RenderStatus
from tests.unit.scheduler.house_bench import H200, FixedCatalog, FixedEstimates, slots

MINUTE = FixedEstimates(request_seconds=60.0, start_seconds=30.0)


def slow(**changes):
    return ScriptedWorkers(**{"step_seconds": 10.0, "total_steps": 6} | changes)


async def running(house, account="bob", **body):
    render = await house.create(account, **body)
    return await house.until(render, lambda now: now.progress.done_steps == 1)


async def test_a_queued_render_is_told_its_place_why_it_waits_and_when_it_may_end(open_clockwork):
    async with open_clockwork(slow(), fleet=slots(H200), estimates=MINUTE) as house:
        await running(house)
        first, second, third = [await house.create() for _ in range(3)]
        told = [await house.get(render) for render in (first, second, third)]
        assert [render.progress.queue_position for render in told] == [1, 2, 3]
        p50s = [render.progress.eta_seconds_p50 for render in told]
        assert p50s == [pytest.approx(50 + 60 * place, abs=12) for place in (1, 2, 3)]
        for render in told:
            assert render.progress.eta_seconds_p90 >= render.progress.eta_seconds_p50
        assert told[0].explanation.startswith("waits: it is next; the slot of H200@eu-north2 is busy")
        assert told[2].explanation.startswith("waits: 2 are before it; the slot of H200@eu-north2 is busy")


async def test_the_answer_to_the_request_itself_tells_that_already(open_clockwork):
    async with open_clockwork(slow(), fleet=slots(H200), estimates=MINUTE) as house:
        await running(house)
        render = await house.create()
        assert render.progress.queue_position == 1
        assert render.progress.eta_seconds_p50 > 60.0
        assert render.explanation.startswith("waits: it is next")


async def test_what_was_foretold_comes_true(open_clockwork):
    async with open_clockwork(slow(), fleet=slots(H200), estimates=MINUTE) as house:
        await running(house)
        renders = [await house.create() for _ in range(4)]
        asked_at = house.clock.monotonic()
        told = [(await house.get(render)).progress for render in renders]
        for render, progress in zip(renders, told, strict=True):
            await house.finished(render)
            took = house.clock.monotonic() - asked_at
            assert took == pytest.approx(progress.eta_seconds_p50, rel=0.1, abs=10.0)


async def test_a_running_render_is_told_why_it_runs_where_it_does(open_clockwork):
    async with open_clockwork(slow(), estimates=MINUTE) as house:
        first = await running(house)
        assert first.explanation == "started on L40S@eu-north1, the cheapest of 2 free targets"
        await house.finished(first)
        again = await running(house)
        assert again.explanation == "a warm runtime was idle on L40S@eu-north1"
        assert (await house.finished(again)).explanation == "", "what has ended explains nothing"


async def test_a_running_render_is_told_what_its_worker_expects(open_clockwork):
    async with open_clockwork(slow()) as house:
        render = await running(house)
        assert (render.progress.eta_seconds_p50, render.progress.eta_seconds_p90) == (50.0, 75.0)
        assert render.progress.queue_position is None


async def test_a_render_that_waits_for_a_slot_kept_warm_for_others_is_told_so(open_clockwork):
    async with open_clockwork(slow(), fleet=slots(H200)) as house:
        await house.assembly.view.start("beta", "", Pin(), keep_warm=True, idle_release_seconds=None)
        render = await house.get(await house.create())
        assert "kept warm for other versions" in render.explanation


async def test_a_render_whose_account_used_much_is_told_that_others_go_first(open_clockwork):
    async with open_clockwork(slow(), fleet=slots(H200), estimates=MINUTE) as house:
        await house.finished(await running(house, "ann"))
        await running(house, "bob")
        mine, theirs = await house.create("ann"), await house.create("cat")
        assert "GPU-seconds lately" in (await house.get(mine)).explanation
        assert "GPU-seconds lately" not in (await house.get(theirs)).explanation


async def test_a_render_that_waits_because_its_account_runs_as_many_as_it_may_is_told_so(open_clockwork):
    async with open_clockwork(slow(), policy=Policy(max_running_per_account=1)) as house:
        await running(house, "ann")
        render = await house.get(await house.create("ann"))
        assert render.status is RenderStatus.QUEUED
        assert "its account runs as many renders at once as it may" in render.explanation


async def test_a_render_that_waits_for_a_runtime_that_is_soon_free_is_told_when(open_clockwork):
    async with open_clockwork(slow(load_seconds=600.0), estimates=MINUTE) as house:
        await running(house)
        render = await house.get(await house.create("ann"))
        assert render.status is RenderStatus.QUEUED
        assert "a warm runtime is expected to be free in 50 s; a start takes 600 s" in render.explanation


async def test_nobody_waits_for_ever_for_a_runtime_whose_render_is_overdue(open_clockwork):
    stuck = slow(total_steps=3, load_seconds=30.0, free=False)
    async with open_clockwork(stuck, estimates=MINUTE) as house:
        await stuck.let_through(2)
        await running(house)
        render = await house.create()
        await house.clock.sleep(40.0)
        assert "a warm runtime is expected to be free in" in (await house.get(render)).explanation
        await house.clock.sleep(15.0)
        assert (await house.get(render)).explanation.startswith("started on")


async def test_a_catalogue_that_does_not_answer_keeps_nobody_from_looking(open_clockwork):
    catalog = FixedCatalog()
    async with open_clockwork(slow(), fleet=slots(H200), catalog=catalog) as house:
        first = await running(house)
        waiting = await house.create()
        catalog.answers = False
        told = await house.get(waiting)
        assert (told.status, told.explanation) == (RenderStatus.QUEUED, "waits: the catalogue does not answer")
        assert (await house.finished(first)).status is RenderStatus.SUCCEEDED
        await house.clock.sleep(30.0)
        assert (await house.get(waiting)).status is RenderStatus.QUEUED
        catalog.answers = True
        assert (await house.finished(waiting)).status is RenderStatus.SUCCEEDED


async def test_without_figures_a_render_is_told_something_all_the_same(open_clockwork):
    class NoEstimates:
        async def of(self, slug, model_version, shape=None):
            return {}

    async with open_clockwork(slow(), fleet=slots(H200), estimates=NoEstimates()) as house:
        await running(house)
        told = await house.get(await house.create())
        assert told.progress.queue_position == 1
        assert told.progress.eta_seconds_p50 > 0


@pytest.mark.parametrize("how", ["cancel", "expire"])
async def test_a_render_that_ended_has_no_place_in_the_queue_and_nothing_to_wait_for(open_clockwork, how):
    async with open_clockwork(slow(), fleet=slots(H200), estimates=MINUTE) as house:
        await running(house)
        render = await house.create(**({"deadline": house.in_seconds(20)} if how == "expire" else {}))
        if how == "cancel":
            await house.cancel(render)
        ended = await house.finished(render)
        progress = ended.progress
        assert (progress.queue_position, progress.eta_seconds_p50, progress.eta_seconds_p90) == (None, None, None)


async def test_a_render_that_was_stopped_or_paused_has_no_time_left(open_clockwork):
    async with open_clockwork(slow(), estimates=MINUTE) as house:
        canceled = await running(house)
        await house.cancel(canceled)
        assert (await house.finished(canceled)).progress.eta_seconds_p50 is None
        paused = await house.create(pause_after_step=2)
        at_rest = await house.until(paused, lambda now: now.status is RenderStatus.PAUSED)
        assert (at_rest.progress.eta_seconds_p50, at_rest.progress.done_steps) == (None, 2)


async def test_looking_while_renders_are_passed_over_finds_everybody_in_their_places(open_clockwork):
    class SlowEstimates(FixedEstimates):
        async def of(self, slug, model_version, shape=None):
            await asyncio.sleep(0.05)
            return await super().of(slug, model_version, shape)

    estimates = SlowEstimates(request_seconds=60.0, start_seconds=30.0)
    async with open_clockwork(slow(load_seconds=600.0), estimates=estimates) as house:
        await running(house)
        renders = [await house.create("ann") for _ in range(5)]
        for _ in range(30):
            await house.clock.sleep(0.013)
            told = [await house.get(render) for render in renders]
            assert [render.progress.queue_position for render in told] == [1, 2, 3, 4, 5]
            assert all("expected to be free" in render.explanation for render in told)
