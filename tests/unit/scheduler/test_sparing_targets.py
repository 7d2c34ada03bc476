"""Versions that keep losing their workers on a target, and how it is tried again."""

import pytest

from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.facts import Outcome
from services.scheduler.domain.render import RenderStatus

MINUTES = 60.0


class Poisoned(ScriptedWorkers):
    """Workers that die of renders of some models."""

    def __init__(self, *poison):
        super().__init__(step_seconds=1.0)
        self.poison = set(poison)

    async def render(self, address, assignment, after_seq):
        async for moment in super().render(address, assignment, after_seq):
            yield moment
            slug, _ = self.workers[address].loaded or ("", "")
            if moment.done_steps and slug in self.poison:
                await self.kill(address)


async def open_the_circuit(house, gpu_type="H200", model="alpha"):
    """Two renders that lose all their workers."""
    for _ in range(2):
        ended = await house.finished(await house.create(gpu_type=gpu_type, model=model))
        assert ended.status is RenderStatus.FAILED
    await house.settle()


async def circuits(house):
    targets = await house.assembly.view.capacity()
    return [(str(view.target), circuit.slug) for view in targets for circuit in view.open_circuits]


async def test_two_renders_that_lose_all_their_workers_spare_the_target_from_that_version_only(open_clockwork):
    async with open_clockwork(Poisoned("alpha")) as house:
        await open_the_circuit(house)
        assert await circuits(house) == [("H200@eu-north2", "alpha")]
        stuck = await house.create(gpu_type="H200")
        assert (await house.finished(await house.create(gpu_type="H200", model="beta"))).losses == 0
        await house.clock.sleep(30.0)
        now = await house.get(stuck)
        assert (now.status, now.attempt) == (RenderStatus.QUEUED, 0)
        assert "spared for a while" in now.explanation


async def test_the_other_targets_still_take_the_version(open_clockwork):
    async with open_clockwork(Poisoned("alpha")) as house:
        await open_the_circuit(house, gpu_type="L40S")
        house.workers.poison.clear()
        ended = await house.finished(await house.create())
        assert str(ended.target) == "H200@eu-north2", "the cheaper one is spared"


async def test_after_ten_minutes_one_render_tries_it_and_the_others_follow_when_it_goes_well(open_clockwork):
    async with open_clockwork(Poisoned("alpha")) as house:
        await open_the_circuit(house)
        waiting = [await house.create(gpu_type="H200") for _ in range(3)]
        house.workers.poison.clear()
        await house.clock.sleep(9 * MINUTES)
        assert {(await house.get(render)).attempt for render in waiting} == {0}
        ended = [await house.finished(render) for render in waiting]
        assert [render.status for render in ended] == [RenderStatus.SUCCEEDED] * 3
        assert ended[1].started_at >= ended[0].ended_at
        assert await circuits(house) == []


async def test_a_trial_that_loses_its_worker_closes_the_target_for_another_ten_minutes(open_clockwork):
    async with open_clockwork(Poisoned("alpha")) as house:
        await open_the_circuit(house)
        trial, other = [await house.create(gpu_type="H200") for _ in range(2)]
        await house.until(trial, lambda now: now.losses == 1)
        await house.clock.sleep(8 * MINUTES)
        assert [(await house.get(render)).attempt for render in (trial, other)] == [1, 0]
        house.workers.poison.clear()
        ended = await house.finished(trial)
        assert (ended.status, [record.outcome for record in ended.attempts]) == (
            RenderStatus.SUCCEEDED,
            [Outcome.LOST, Outcome.SUCCEEDED],
        )
        assert (await house.finished(other)).attempt == 1


async def test_a_trial_that_is_canceled_lets_the_next_one_try(open_clockwork):
    async with open_clockwork(Poisoned("alpha")) as house:
        await open_the_circuit(house)
        house.workers.poison.clear()
        house.workers.total_steps = 1000
        trial, other = [await house.create(gpu_type="H200") for _ in range(2)]
        await house.until(trial, lambda now: now.progress.done_steps == 1)
        await house.cancel(trial)
        await house.finished(trial)
        await house.settle()
        assert await circuits(house) == [("H200@eu-north2", "alpha")], "nothing is proved"
        house.workers.total_steps = 3
        began = await house.until(other, lambda now: now.attempt == 1)
        assert (began.started_at - trial.created_at).total_seconds() < 12 * MINUTES


async def test_an_open_circuit_outlives_a_restart(open_clockwork):
    workers = Poisoned("alpha")
    async with open_clockwork(workers) as house:
        await open_the_circuit(house)
    workers.poison.clear()
    async with open_clockwork(workers) as house:
        assert await circuits(house) == [("H200@eu-north2", "alpha")]
        render = await house.create(gpu_type="H200")
        await house.clock.sleep(8 * MINUTES)
        assert (await house.get(render)).attempt == 0
        assert (await house.finished(render)).status is RenderStatus.SUCCEEDED


async def test_last_workers_that_died_with_the_scheduler_count(open_clockwork):
    workers = Poisoned("alpha")
    async with open_clockwork(workers) as house:
        await house.finished(await house.create(gpu_type="H200"))
        render = await house.create(gpu_type="H200")
        running = await house.until(render, lambda now: now.losses == 2 and now.progress.total_steps > 0)
        house.crash()
        workers.poison.clear()
        if running.runtime_id in workers.workers:
            await workers.kill(running.runtime_id)
    async with open_clockwork(workers) as house:
        assert (await house.get(render)).status is RenderStatus.FAILED
        assert await circuits(house) == [("H200@eu-north2", "alpha")]


async def test_renders_that_were_canceled_after_a_loss_open_no_circuit_after_a_restart(open_clockwork):
    workers = Poisoned("alpha")
    async with open_clockwork(workers) as house:
        for _ in range(2):
            render = await house.create(gpu_type="H200")
            await house.until(render, lambda now: now.losses == 1)
            workers.loading.clear()
            await house.cancel(render)
            ended = await house.finished(render)
            workers.loading.set()
            assert ended.status is RenderStatus.CANCELED
    async with open_clockwork(workers) as house:
        assert await circuits(house) == []


@pytest.mark.parametrize("minutes", [1.0, 11.0])
async def test_two_failures_open_the_circuit_only_when_they_are_close(open_clockwork, minutes):
    async with open_clockwork(Poisoned("alpha")) as house:
        await house.finished(await house.create(gpu_type="H200"))
        await house.clock.sleep(minutes * MINUTES)
        await house.finished(await house.create(gpu_type="H200"))
        await house.settle()
        assert bool(await circuits(house)) is (minutes < 10)
