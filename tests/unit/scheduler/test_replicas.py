"""Two schedulers on one PostgreSQL act as one."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.errors import QuotaExceeded
from services.scheduler.domain.facts import Phase
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import RenderStatus
from services.scheduler.usecases.in_step import COMPARE_SECONDS
from tests.unit.scheduler.house_bench import at_step
from tests.unit.scheduler.machines_bench import FLEET, Machines, machine
from tests.unit.scheduler.replicas_bench import Town, within


@pytest.fixture
def town(postgresql):
    return Town(postgresql)


async def test_what_one_accepts_the_leader_runs_and_both_show(town):
    async with town.pair() as (leader, follower):
        render = await follower.create()
        done = await follower.finished(render)
        assert done.status is RenderStatus.SUCCEEDED
        assert await leader.get(render) == await follower.get(render)
        assert await leader.messages(render) == await follower.messages(render)


async def test_a_watcher_of_either_gets_every_event(town):
    async with town.pair() as (leader, follower):
        for accepting, watching in ((leader, follower), (follower, leader)):
            render = await accepting.create()
            events = await watching.assembly.scheduler.watch(render.account, render.id, after_seq=0)
            seen = [event.seq async for event in events if not event.keep_alive]
            assert seen == list(range(1, (await leader.get(render)).last_seq + 1))


async def test_the_leader_hears_at_once_of_what_another_one_queues(town):
    async with town.pair() as (leader, follower):
        await leader.finished(await leader.create())  # its runtime is warm
        await asyncio.sleep(COMPARE_SECONDS)
        took = []
        for _ in range(5):
            render = await follower.create()
            done = await follower.finished(render)
            took.append((done.started_at - done.created_at).total_seconds())
        assert sorted(took)[2] < COMPARE_SECONDS / 2


def runs(render):
    return render.status is RenderStatus.RUNNING and render.phase is Phase.DENOISING


@pytest.mark.parametrize("accepted_by", [0, 1])
@pytest.mark.parametrize("canceled_by", [0, 1])
async def test_either_cancels_what_runs(town, accepted_by, canceled_by):
    town.workers = ScriptedWorkers(step_seconds=2.0)
    async with town.pair() as pair:
        render = await pair[accepted_by].until(await pair[accepted_by].create(), runs)
        await pair[canceled_by].cancel(render)
        async with asyncio.timeout(COMPARE_SECONDS):  # the worker hears of it in the middle of a step
            while not town.workers.cancels:
                await asyncio.sleep(0.01)
        assert (await pair[1].finished(render)).status is RenderStatus.CANCELED


async def test_either_cancels_what_waits_and_nobody_tries_to_place_it(town):
    town.workers = ScriptedWorkers(step_seconds=5.0)
    async with town.pair() as (leader, follower):
        for _ in range(2):
            await leader.until(await leader.create(), runs)
        for canceling in (leader, follower):
            waiting = await leader.create()
            assert (await canceling.cancel(waiting)).status is RenderStatus.CANCELED
        await asyncio.sleep(2 * COMPARE_SECONDS)
        new = await leader.create()
        assert new.progress.queue_position == (await follower.get(new)).progress.queue_position == 1


async def test_both_say_the_same_of_what_waits(town):
    town.workers = ScriptedWorkers(step_seconds=5.0)
    async with town.pair() as (leader, follower):
        for _ in range(2):
            await leader.until(await leader.create("bob"), runs)
        waiting = [await (leader, follower)[n % 2].create() for n in range(4)]
        await asyncio.sleep(2.5 * COMPARE_SECONDS)
        for place, render in enumerate(waiting, start=1):
            here, there = await leader.get(render), await follower.get(render)
            assert here.progress.queue_position == there.progress.queue_position == place
            assert here.explanation == there.explanation


async def test_all_know_that_there_is_no_machine_for_what_waits(town):
    async with town.pair(cluster=Machines(machine("north")), fleet=FLEET) as (leader, follower):
        render = await follower.create(gpu_type="L40S")
        await asyncio.sleep(2.5 * COMPARE_SECONDS)
        for house in (leader, follower):
            told = await house.get(render)
            assert told.explanation == "waits: it is next; no machine with L40S@eu-north1 is there"
            assert told.progress.eta_seconds_p50 is None
        assert (await follower.finished(await follower.create())).attempts[-1].target.gpu_type == "H200"


async def test_a_quota_counts_what_any_of_them_has_accepted(town):
    town.workers = ScriptedWorkers(step_seconds=5.0)
    async with town.pair(policy=Policy(max_queued_per_account=3)) as (leader, follower):
        for _ in range(2):
            await leader.until(await leader.create("bob"), runs)
        for house in (leader, follower, leader):
            await house.create()
        await asyncio.sleep(2 * COMPARE_SECONDS)
        for house in (leader, follower):
            with pytest.raises(QuotaExceeded):
                await house.create()


async def test_one_idempotency_key_makes_one_render_whoever_is_asked(town):
    async with town.pair() as pair:
        made = await asyncio.gather(*(pair[n % 2].create(idempotency_key="k") for n in range(10)))
        assert len({render.id for render in made}) == 1


async def test_when_the_leader_ends_the_next_one_goes_on_with_what_it_released(town):
    town.workers = ScriptedWorkers(total_steps=8, step_seconds=0.3)
    async with AsyncExitStack() as stack:
        leader, first = await stack.enter_async_context(town.house())
        await within(10, first.leadership.gained())
        renders = [await leader.create() for _ in range(4)]
        await leader.until(renders[0], at_step(2))
        async with town.house() as (follower, second):
            follower.patience_seconds = 20.0
            await asyncio.sleep(0.5)
            await stack.aclose()
            assert second.leadership.term is None or second.leadership.term == 2
            for render in renders:
                done = await follower.finished(render)
                assert (done.status, done.losses) == (RenderStatus.SUCCEEDED, 0)


async def test_a_leader_that_was_given_up_and_goes_on_changes_nothing_and_its_attempts_are_anothers(town):
    town.workers = ScriptedWorkers(total_steps=12, step_seconds=0.4)
    async with town.pair() as (zombie, follower):
        follower.patience_seconds = 20.0
        renders = [await zombie.create() for _ in range(2)]
        for render in renders:
            await zombie.until(render, at_step(2))
        await town.depose(zombie)
        for render in renders:
            done = await follower.finished(render)
            assert (done.status, done.epoch, done.attempt, done.losses) == (RenderStatus.SUCCEEDED, 1, 1, 0)
            log = await follower.log(render)
            steps = [event.progress.done_steps for event in log if event.phase is Phase.DENOISING]
            assert [event.seq for event in log] == list(range(1, done.last_seq + 1))
            assert sorted(set(steps)) == list(range(13))
            assert steps == sorted(steps)
        assert town.deposed(zombie).is_set()
        assert len(town.workers.rendered) == 2, "nothing was begun again"
