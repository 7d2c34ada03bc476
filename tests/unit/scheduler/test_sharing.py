"""Accounts that share a fleet, and the order in which their renders run."""

import asyncio

import pytest

from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import RenderStatus
from tests.unit.scheduler.house_bench import H200, FixedEstimates, slots

TEN_SECONDS = FixedEstimates(request_seconds=10.0, start_seconds=5.0)


def workers(**changes):
    return ScriptedWorkers(**{"step_seconds": 10.0, "total_steps": 1} | changes)


async def order_of(house, renders):
    """The names under which renders were asked for, in the order in which they started."""
    ended = {name: await house.finished(render) for name, render in renders.items()}
    return sorted(ended, key=lambda name: ended[name].started_at)


async def holding(house):
    """A render that holds the only slot until it is canceled."""
    house.workers.total_steps, before = 1000, house.workers.total_steps
    render = await house.create("somebody else")
    await house.until(render, lambda now: now.progress.done_steps == 1)
    house.workers.total_steps = before
    return render


async def test_with_one_slot_accounts_take_turns_however_much_one_of_them_asks_for(open_clockwork):
    async with open_clockwork(workers(), fleet=slots(H200), estimates=TEN_SECONDS) as house:
        first = await holding(house)
        renders = {f"ann {number}": await house.create("ann") for number in range(8)}
        renders |= {f"bob {number}": await house.create("bob") for number in range(3)}
        await house.cancel(first)
        order = [name.split()[0] for name in await order_of(house, renders)]
        assert order == ["ann", "bob", "ann", "bob", "ann", "bob", "ann", "ann", "ann", "ann", "ann"]


async def test_an_account_that_has_used_the_fleet_waits_for_one_that_has_not(open_clockwork):
    async with open_clockwork(workers(), fleet=slots(H200), estimates=TEN_SECONDS) as house:
        for _ in range(3):
            await house.finished(await house.create("ann"))
        first = await holding(house)
        renders = {"ann": await house.create("ann"), "bob": await house.create("bob")}
        await house.cancel(first)
        assert await order_of(house, renders) == ["bob", "ann"]


async def test_what_was_really_used_counts_not_what_was_expected(open_clockwork):
    estimates = FixedEstimates(request_seconds=600.0, start_seconds=5.0)
    async with open_clockwork(workers(), fleet=slots(H200), estimates=estimates) as house:
        await house.finished(await house.create("ann"))  # ten seconds, whatever was expected
        for _ in range(5):
            await house.finished(await house.create("bob"))
        first = await holding(house)
        renders = {"bob": await house.create("bob"), "ann": await house.create("ann")}
        await house.cancel(first)
        assert await order_of(house, renders) == ["ann", "bob"]


@pytest.mark.parametrize("limit", [None, 1])
async def test_an_account_below_its_share_may_have_several_turns_in_a_row(open_clockwork, limit):
    policy = Policy(max_running_per_account=limit)
    async with open_clockwork(workers(), fleet=slots(H200), estimates=TEN_SECONDS, policy=policy) as house:
        for _ in range(3):
            await house.finished(await house.create("ann"))
        first = await holding(house)
        renders = {name: await house.create(name.split()[0]) for name in ("ann 1", "ann 2", "bob 1", "bob 2")}
        await house.cancel(first)
        assert await order_of(house, renders) == ["bob 1", "bob 2", "ann 1", "ann 2"]


async def test_priorities_order_an_accounts_own_renders(open_clockwork):
    async with open_clockwork(workers(), fleet=slots(H200), estimates=TEN_SECONDS) as house:
        first = await holding(house)
        renders = {name: await house.create("ann", priority=name) for name in ("low", "normal", "high")}
        renders["bob"] = await house.create("bob", priority="low")
        await house.cancel(first)
        assert await order_of(house, renders) == ["high", "bob", "normal", "low"]


async def test_what_was_used_before_a_restart_is_not_forgotten(open_clockwork):
    fleet = slots(H200)
    ours = workers()
    async with open_clockwork(ours, fleet=fleet, estimates=TEN_SECONDS) as house:
        for _ in range(3):
            await house.finished(await house.create("ann"))
        held = await holding(house)
        renders = {"ann": await house.create("ann"), "bob": await house.create("bob")}
        house.crash()
    async with open_clockwork(ours, fleet=fleet, estimates=TEN_SECONDS) as house:
        await house.cancel(held)
        assert await order_of(house, renders) == ["bob", "ann"]


async def test_a_render_that_runs_on_over_a_restart_counts_for_its_account(open_clockwork):
    fleet = slots(H200)
    ours = workers()
    async with open_clockwork(ours, fleet=fleet, estimates=TEN_SECONDS) as house:
        held = await holding(house)
        renders = {"same": await house.create("somebody else"), "bob": await house.create("bob")}
        house.crash()
    async with open_clockwork(ours, fleet=fleet, estimates=TEN_SECONDS) as house:
        await house.cancel(held)
        assert await order_of(house, renders) == ["bob", "same"]


async def test_a_render_that_cannot_be_placed_does_not_hold_up_others_that_can(open_clockwork):
    async with open_clockwork(workers()) as house:
        house.workers.total_steps = 1000
        held = await house.create(gpu_type="H200")
        await house.until(held, lambda now: now.progress.done_steps == 1)
        house.workers.total_steps = 1
        stuck = await house.create(gpu_type="H200")
        other = await house.finished(await house.create(gpu_type="L40S"))
        assert other.status is RenderStatus.SUCCEEDED
        assert (await house.get(stuck)).status is RenderStatus.QUEUED


async def test_nobody_is_forgotten_when_many_ask_for_many_things_at_once(open_clockwork):
    async with open_clockwork(workers(step_seconds=1.0), estimates=TEN_SECONDS) as house:
        wishes = [
            {"account": f"acc-{n % 7}", "priority": ("low", "normal", "high")[n % 3]}
            | ({"gpu_type": "H200"} if n % 4 == 0 else {})
            | ({"model": "beta"} if n % 5 == 0 else {})
            for n in range(60)
        ]
        renders = await asyncio.gather(*(house.create(**wish) for wish in wishes))
        for number, render in enumerate(renders):
            if number % 6 == 0:
                await house.cancel(render)
        ended = [await house.finished(render) for render in renders]
        assert {render.status for render in ended} <= {RenderStatus.SUCCEEDED, RenderStatus.CANCELED}
        assert sum(render.status is RenderStatus.SUCCEEDED for render in ended) >= 50
        assert all(render.attempt <= 1 for render in ended)
