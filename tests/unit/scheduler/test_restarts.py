"""Schedulers that die, and schedulers that are told to end: what the next one finds, and what it makes of it."""

import pytest

from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.facts import Outcome, Phase
from services.scheduler.domain.fleet import Pin
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import RenderStatus
from tests.unit.scheduler.house_bench import H200, slots


def slow(**changes):
    return ScriptedWorkers(**{"step_seconds": 10.0, "total_steps": 12} | changes)


def at_step(step):
    return lambda now: now.progress.done_steps >= step


async def crashed(open_clockwork, workers, *, step=2, **options):
    """A render whose scheduler died while it ran."""
    async with open_clockwork(workers, **options) as house:
        render = await house.create()
        running = await house.until(render, at_step(step))
        house.crash()
    return running


async def test_a_running_render_goes_on_in_its_worker_and_the_next_scheduler_joins_it(open_clockwork):
    workers = slow()
    running = await crashed(open_clockwork, workers)
    async with open_clockwork(workers) as house:
        joined = await house.get(running)
        assert (joined.status, joined.epoch, joined.attempt) == (RenderStatus.RUNNING, 1, 1)
        ended = await house.finished(running)
        assert (ended.status, ended.epoch, ended.attempt, ended.losses) == (RenderStatus.SUCCEEDED, 1, 1, 0)
        assert len(workers.rendered) == 1, "the worker never began again"
        log = await house.log(running)
        assert [event.seq for event in log] == list(range(1, ended.last_seq + 1))
        steps = [event.progress.done_steps for event in log if event.phase is Phase.DENOISING]
        assert sorted(set(steps)) == list(range(13)), "what it said meanwhile is in the log too"
        assert ended.gpu_seconds == pytest.approx(115.0, abs=1.0), "what no scheduler saw is nobody's"
        assert steps == sorted(steps)


async def test_a_video_that_was_finished_while_nobody_scheduled_is_published(open_clockwork):
    workers = slow()
    running = await crashed(open_clockwork, workers, step=11)
    async with open_clockwork(workers) as house:
        await house.clock.sleep(20.0)
        ended = await house.get(running)
        assert (ended.status, ended.attempt) == (RenderStatus.SUCCEEDED, 1)
        assert ended.output.key == f"renders/{running.id}/1/video.mp4"


async def test_a_render_that_was_being_canceled_is_canceled_by_the_next_scheduler(open_clockwork):
    workers = slow()
    async with open_clockwork(workers) as house:
        render = await house.create()
        await house.until(render, at_step(1))
        workers.lost_cancels = 1
        await house.cancel(render)
        house.crash()
    async with open_clockwork(workers) as house:
        ended = await house.finished(render)
        assert ended.status is RenderStatus.CANCELED
        assert workers.cancels == [(render.id, 1)]


@pytest.mark.parametrize(("away_seconds", "outcome", "losses"), [(0.0, Outcome.LOST, 1), (60.0, Outcome.RELEASED, 0)])
async def test_whose_fault_a_dead_worker_is_depends_on_whether_the_scheduler_was_there_to_be_heard(
    open_clockwork, away_seconds, outcome, losses
):
    workers = slow()
    async with open_clockwork(workers) as house:
        render = await house.create()
        running = await house.until(render, at_step(2))
        house.crash()
        await workers.kill(running.runtime_id)
        await house.clock.sleep(away_seconds)
    async with open_clockwork(workers) as house:
        ended = await house.finished(running)
        assert (ended.status, ended.attempt, ended.losses) == (RenderStatus.SUCCEEDED, 2, losses)
        assert ended.attempts[0].outcome is outcome
        assert ended.attempts[1].resumed_steps == 2
        assert ended.attempts[0].gpu_seconds <= 25.0, "nobody pays for the absence"


async def test_a_render_whose_runtime_was_starting_is_released_and_the_half_started_worker_is_ended(open_clockwork):
    workers = slow(load_seconds=60.0)
    async with open_clockwork(workers) as house:
        render = await house.create()
        starting = await house.until(render, lambda now: now.phase is Phase.STARTING and now.last_seq >= 4)
        house.crash()
    async with open_clockwork(workers) as house:
        ended = await house.finished(render)
        assert (ended.status, ended.attempt, ended.losses) == (RenderStatus.SUCCEEDED, 2, 0)
        assert ended.attempts[0].outcome is Outcome.RELEASED
        assert (starting.runtime_id, False) in workers.terminated


async def test_queued_renders_start_in_order_and_paused_ones_stay_paused(open_clockwork):
    workers = slow(total_steps=3)
    async with open_clockwork(workers, fleet=slots(H200)) as house:
        paused = await house.create(pause_after_step=1)
        await house.until(paused, lambda now: now.status is RenderStatus.PAUSED)
        first, second, third = [await house.create() for _ in range(3)]
        await house.until(first, at_step(1))
        house.crash()
    async with open_clockwork(workers, fleet=slots(H200)) as house:
        assert [(await house.get(render)).progress.queue_position for render in (second, third)] == [1, 2]
        ends = [await house.finished(render) for render in (first, second, third)]
        assert [render.attempt for render in ends] == [1, 1, 1]
        assert [render.started_at for render in ends] == sorted(render.started_at for render in ends)
        assert (await house.get(paused)).status is RenderStatus.PAUSED
        await house.assembly.scheduler.resume("ann", paused.id, pause_after_step=0)
        assert (await house.finished(paused)).status is RenderStatus.SUCCEEDED


async def test_a_warm_worker_is_adopted_and_a_dead_one_frees_its_slot(open_clockwork):
    workers = slow(total_steps=1)
    async with open_clockwork(workers) as house:
        for gpu_type in ("H200", "L40S"):
            await house.assembly.view.start("alpha", "", Pin(gpu_type), keep_warm=False, idle_release_seconds=None)
        dead = next(runtime for runtime in house.assembly.runtimes.all() if runtime.target == H200)
        house.crash()
    await workers.kill(dead.id)
    async with open_clockwork(workers) as house:
        await house.settle()
        assert (await house.finished(await house.create(gpu_type="L40S"))).was_cold_start is False
        assert (await house.finished(await house.create(gpu_type="H200"))).was_cold_start is True


async def test_a_scheduler_that_is_told_to_end_releases_what_runs_with_its_checkpoint(open_clockwork):
    workers = slow()
    async with open_clockwork(workers) as house:
        render = await house.create()
        await house.until(render, at_step(2))
    assert workers.workers == {}
    async with open_clockwork(workers) as house:
        released = await house.get(render)
        assert (released.losses, released.attempts[0].outcome) == (0, Outcome.RELEASED)
        ended = await house.finished(render)
        assert (ended.status, ended.attempt, ended.losses) == (RenderStatus.SUCCEEDED, 2, 0)
        assert ended.attempts[1].resumed_steps == 3, "the worker kept one more step on its way out"
        assert [event.seq for event in await house.log(render)] == list(range(1, ended.last_seq + 1))


async def test_a_drain_lets_short_renders_finish_and_releases_long_ones_with_their_checkpoints(open_clockwork):
    workers = slow()
    policy = Policy(drain_seconds=60.0)
    async with open_clockwork(workers, policy=policy) as house:
        short = await house.create()
        await house.until(short, at_step(8))
        long = await house.create()
        await house.until(long, at_step(1))
        waiting = await house.create()
        began = house.clock.monotonic()
    assert house.clock.monotonic() - began == pytest.approx(60.0, abs=5.0)
    async with open_clockwork(workers, policy=policy) as house:
        assert (await house.get(short)).status is RenderStatus.SUCCEEDED
        assert (await house.get(long)).attempts[0].outcome is Outcome.RELEASED
        assert len(workers.rendered) == 2, "nothing new was begun while draining"
        ended = await house.finished(long)
        assert (ended.status, ended.attempt, ended.losses) == (RenderStatus.SUCCEEDED, 2, 0)
        assert ended.attempts[1].resumed_steps >= 6
        assert (await house.finished(waiting)).attempt == 1


async def test_a_drain_ends_as_soon_as_nothing_runs(open_clockwork):
    async with open_clockwork(slow(), policy=Policy(drain_seconds=3600.0)) as house:
        render = await house.create()
        await house.until(render, at_step(10))
        began = house.clock.monotonic()
    assert house.clock.monotonic() - began < 40.0


async def test_a_render_whose_runtime_starts_when_the_scheduler_ends_is_released(open_clockwork):
    workers = slow(load_seconds=60.0)
    async with open_clockwork(workers) as house:
        render = await house.create()
        await house.until(render, lambda now: now.phase is Phase.STARTING and now.last_seq >= 4)
    async with open_clockwork(workers) as house:
        ended = await house.finished(render)
        assert (ended.status, ended.attempt, ended.losses) == (RenderStatus.SUCCEEDED, 2, 0)


async def test_a_scheduler_that_ends_in_the_middle_of_a_lease_has_not_lost_a_worker(open_clockwork):
    workers = slow(total_steps=1)
    async with open_clockwork(workers) as house:
        await house.finished(await house.create())
        await house.settle()
        leasing = house.store.advance

        async def advance(*args, **kwargs):
            written = await leasing(*args, **kwargs)
            if written is not None and written.render.status is RenderStatus.RUNNING:
                await house.clock.sleep(1.0)  # long enough to be told to end before it is heard of
            return written

        house.store.advance = advance
        render = await house.create()
        await house.clock.sleep(0.1)
    async with open_clockwork(workers) as house:
        ended = await house.finished(render)
        assert (ended.status, ended.losses) == (RenderStatus.SUCCEEDED, 0)
        assert Outcome.LOST not in [record.outcome for record in ended.attempts]
