"""A store that is away for a while: nothing is lost, and nobody is blamed for it."""

import pytest

from services.chassis.storage import StoreUnavailable
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.facts import Outcome, Phase
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import RenderStatus

AWAY_SECONDS = 120.0
"""Much longer than a lease."""


async def away(house, seconds=AWAY_SECONDS):
    house.disk.is_away = True
    await house.clock.sleep(seconds)
    house.disk.is_away = False


async def test_a_running_render_goes_on_while_the_store_is_away_and_its_log_has_all_of_it(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=20.0, total_steps=10)) as house:
        render = await house.create()
        await house.until(render, lambda now: now.progress.done_steps == 1)
        await away(house)
        ended = await house.finished(render)
        assert (ended.status, ended.attempt, ended.losses) == (RenderStatus.SUCCEEDED, 1, 0)
        log = await house.log(render)
        assert [event.seq for event in log] == list(range(1, ended.last_seq + 1))
        steps = [event.progress.done_steps for event in log if event.phase is Phase.DENOISING]
        assert sorted(set(steps)) == list(range(11))
        assert steps == sorted(steps)
        assert ended.gpu_seconds == pytest.approx(200.0, abs=5.0), "time passes for the device too"


async def test_a_video_that_is_ready_while_the_store_is_away_is_published_when_it_is_back(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=5.0)) as house:
        render = await house.create()
        await house.until(render, lambda now: now.progress.done_steps == 2)
        await away(house)
        ended = await house.finished(render)
        assert (ended.status, ended.attempt) == (RenderStatus.SUCCEEDED, 1)


async def test_a_start_goes_on_while_the_store_is_away(open_clockwork):
    async with open_clockwork(ScriptedWorkers(load_seconds=60.0)) as house:
        render = await house.create()
        await house.until(render, lambda now: now.phase is Phase.STARTING)
        await away(house)
        ended = await house.finished(render)
        assert (ended.status, ended.attempt) == (RenderStatus.SUCCEEDED, 1)


async def test_a_worker_is_not_blamed_that_could_not_be_asked_because_the_store_did_not_give_the_inputs(
    open_clockwork, monkeypatch
):
    async def refuse(render_id):
        raise StoreUnavailable

    async with open_clockwork() as house:
        with monkeypatch.context() as patch:
            patch.setattr(house.store, "inputs", refuse)
            render = await house.create()
            await house.clock.sleep(AWAY_SECONDS)
        ended = await house.finished(render)
        assert (ended.status, [record.outcome for record in ended.attempts]) == (
            RenderStatus.SUCCEEDED,
            [Outcome.SUCCEEDED],
        )


async def test_a_queued_render_is_placed_when_the_store_is_back(open_clockwork):
    workers = ScriptedWorkers(step_seconds=10.0)
    async with open_clockwork(workers, policy=Policy(max_running_per_account=1)) as house:
        first, second = [await house.create() for _ in range(2)]
        await house.until(first, lambda now: now.progress.done_steps == 2)
        await away(house)
        assert [(await house.finished(render)).attempt for render in (first, second)] == [1, 1]


async def test_a_render_that_cannot_be_stored_is_refused_and_never_runs(open_clockwork):
    async with open_clockwork() as house:
        house.disk.is_away = True
        with pytest.raises(StoreUnavailable):
            await house.create()
        house.disk.is_away = False
        await house.clock.sleep(10.0)
        assert house.workers.rendered == []
        assert (await house.finished(await house.create())).status is RenderStatus.SUCCEEDED


async def test_a_cancelation_that_cannot_be_stored_is_refused_and_can_be_asked_again(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0)) as house:
        render = await house.create()
        await house.until(render, lambda now: now.progress.done_steps == 1)
        house.disk.is_away = True
        with pytest.raises(StoreUnavailable):
            await house.cancel(render)
        house.disk.is_away = False
        await house.cancel(render)
        assert (await house.finished(render)).status is RenderStatus.CANCELED


async def test_a_worker_that_is_lost_while_the_store_is_away_is_a_loss_like_any_other(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0)) as house:
        render = await house.create()
        running = await house.until(render, lambda now: now.progress.done_steps == 1)
        house.disk.is_away = True
        await house.workers.kill(running.runtime_id)
        await house.clock.sleep(AWAY_SECONDS)
        house.disk.is_away = False
        ended = await house.finished(render)
        assert (ended.status, ended.attempt, ended.losses) == (RenderStatus.SUCCEEDED, 2, 1)
        assert ended.attempts[0].gpu_seconds < 20.0


async def test_nobody_pays_for_the_time_a_dead_workers_last_word_waited_for_the_store(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0)) as house:
        render = await house.create()
        running = await house.until(render, lambda now: now.progress.done_steps == 1)
        house.disk.is_away = True
        await house.clock.sleep(9.0)  # the worker has said something that cannot be written
        await house.workers.kill(running.runtime_id)
        await house.clock.sleep(AWAY_SECONDS)
        house.disk.is_away = False
        ended = await house.finished(render)
        assert (ended.status, ended.losses) == (RenderStatus.SUCCEEDED, 1)
        assert ended.attempts[0].gpu_seconds < 25.0
