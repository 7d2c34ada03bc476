"""Stopping a render, wherever it is."""

import pytest

from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.errors import RenderNotFound, VideoNotReady
from services.scheduler.domain.facts import Outcome, Phase
from services.scheduler.domain.fleet import Pin
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import RenderStatus
from tests.unit.scheduler.house_bench import H200, slots


def slow(**changes):
    return ScriptedWorkers(step_seconds=10.0, **changes)


async def test_canceling_a_queued_render_ends_it_at_once(open_clockwork):
    async with open_clockwork(slow(), fleet=slots(H200)) as house:
        running, waiting = [await house.create() for _ in range(2)]
        await house.until(running, lambda now: now.status is RenderStatus.RUNNING)
        canceled = await house.cancel(waiting)
        assert (canceled.status, canceled.phase, canceled.attempts) == (RenderStatus.CANCELED, Phase.DONE, ())
        assert canceled.timing.total_ms is not None
        await house.finished(running)
        await house.clock.sleep(60.0)
        assert len(house.workers.rendered) == 1


async def test_canceling_a_running_render_ends_it_within_a_step_without_a_video_and_frees_its_runtime(open_clockwork):
    async with open_clockwork(slow()) as house:
        render = await house.create()
        await house.until(render, lambda now: now.progress.done_steps == 1)
        asked_at = house.clock.monotonic()
        assert (await house.cancel(render)).status is RenderStatus.CANCELING
        ended = await house.finished(render)
        assert house.clock.monotonic() - asked_at <= 11.0
        assert (ended.status, ended.error) == (RenderStatus.CANCELED, None)
        assert ended.attempts[-1].outcome is Outcome.CANCELED
        with pytest.raises(VideoNotReady):
            await house.assembly.scheduler.video("ann", render.id)
        again = await house.finished(await house.create())
        assert again.was_cold_start is False


async def test_canceling_during_the_cold_start_ends_the_render_and_leaves_the_start_alone(open_clockwork):
    async with open_clockwork(slow(load_seconds=60.0)) as house:
        render = await house.create()
        await house.until(render, lambda now: now.phase is Phase.STARTING and now.last_seq >= 3)
        asked_at = house.clock.monotonic()
        await house.cancel(render)
        assert (await house.finished(render)).status is RenderStatus.CANCELED
        assert house.clock.monotonic() - asked_at < 1.0
        _, was_cold = await house.assembly.view.start("alpha", "", Pin(), keep_warm=False, idle_release_seconds=None)
        assert was_cold
        assert len(house.workers.launched) == 1


async def test_canceling_an_ended_render_changes_nothing(open_clockwork):
    async with open_clockwork() as house:
        render = await house.finished(await house.create())
        assert await house.cancel(render) == render


async def test_canceling_twice_is_as_good_as_once(open_clockwork):
    async with open_clockwork(slow()) as house:
        render = await house.create()
        await house.until(render, lambda now: now.progress.done_steps == 1)
        await house.cancel(render)
        await house.cancel(render)
        ended = await house.finished(render)
        assert ended.status is RenderStatus.CANCELED
        assert (await house.messages(render)).count("cancelation requested") == 1


async def test_nobody_cancels_another_accounts_render(open_clockwork):
    async with open_clockwork(slow()) as house:
        render = await house.create("ann")
        with pytest.raises(RenderNotFound):
            await house.assembly.scheduler.cancel("bob", render.id)
        assert (await house.finished(render)).status is RenderStatus.SUCCEEDED


async def test_a_cancel_that_was_lost_on_its_way_is_delivered_again(open_clockwork):
    async with open_clockwork(slow(total_steps=100)) as house:
        render = await house.create()
        await house.until(render, lambda now: now.progress.done_steps == 1)
        house.workers.lost_cancels = 3
        asked_at = house.clock.monotonic()
        await house.cancel(render)
        assert (await house.finished(render)).status is RenderStatus.CANCELED
        assert house.clock.monotonic() - asked_at <= 3 * 5.0 + 11.0


async def test_an_attempt_that_was_not_told_of_its_cancelation_sees_it_when_it_writes(open_clockwork):
    async with open_clockwork(slow(total_steps=100)) as house:
        render = await house.create()
        await house.until(render, lambda now: now.progress.done_steps == 1)
        house.assembly.dispatcher.cancel = lambda render_id: None
        await house.cancel(render)
        assert (await house.finished(render)).status is RenderStatus.CANCELED


async def test_a_cancel_that_the_worker_ignores_is_final_after_two_leases_and_the_worker_is_killed(open_clockwork):
    async with open_clockwork(slow(total_steps=100)) as house:
        render = await house.create()
        running = await house.until(render, lambda now: now.progress.done_steps == 1)
        worker = house.workers.workers[running.runtime_id]
        worker.ignores_cancel = True
        asked_at = house.clock.monotonic()
        await house.cancel(render)
        ended = await house.finished(render)
        assert ended.status is RenderStatus.CANCELED
        assert 60 < house.clock.monotonic() - asked_at < 62
        await house.settle()
        assert worker.is_killed
        assert (await house.messages(render))[-1] == "canceled; the worker did not answer"


async def test_a_worker_that_is_lost_while_it_cancels_ends_the_render_as_canceled(open_clockwork):
    async with open_clockwork(slow()) as house:
        render = await house.create()
        running = await house.until(render, lambda now: now.progress.done_steps == 1)
        await house.workers.silence(running.runtime_id)
        await house.cancel(render)
        ended = await house.finished(render)
        assert (ended.status, ended.losses, ended.attempt) == (RenderStatus.CANCELED, 0, 1)


async def test_a_video_that_was_finished_first_is_not_thrown_away(open_clockwork):
    workers = slow(total_steps=1)
    async with open_clockwork(workers) as house:
        render = await house.create()
        running = await house.until(render, lambda now: now.phase is Phase.DENOISING)
        workers.workers[running.runtime_id].ignores_cancel = True
        await house.cancel(render)
        ended = await house.finished(render)
        assert (ended.status, ended.attempts[-1].outcome) == (RenderStatus.SUCCEEDED, Outcome.SUCCEEDED)


async def test_a_worker_that_stops_without_being_asked_to_has_failed(open_clockwork):
    async with open_clockwork(slow()) as house:
        render = await house.create()
        running = await house.until(render, lambda now: now.progress.done_steps == 1)
        await house.workers.cancel(running.runtime_id, render.id, running.epoch)
        ended = await house.finished(render)
        assert ended.error is not None
        assert (ended.status, ended.error.reason) == (RenderStatus.FAILED, "ENGINE_FAILED")


async def test_a_canceled_render_that_waited_between_attempts_keeps_its_history(open_clockwork):
    async with open_clockwork(slow(), policy=Policy(), fleet=slots(H200)) as house:
        render, other = await house.create(), await house.create("bob", model="beta")
        running = await house.until(render, lambda now: now.progress.done_steps == 1)
        await house.workers.kill(running.runtime_id)
        await house.until(other, lambda now: now.status is RenderStatus.RUNNING)
        canceled = await house.cancel(render)
        assert (canceled.status, canceled.losses) == (RenderStatus.CANCELED, 1)
        assert [record.outcome for record in canceled.attempts] == [Outcome.LOST]
