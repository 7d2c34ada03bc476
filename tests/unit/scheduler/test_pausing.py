"""Renders that pause for a look, and what can be done with them: go on, branch off, or let go."""

from datetime import timedelta

import pytest

from services.chassis.errors import InvalidInput
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.errors import IdempotencyConflict, RenderNotFound, RenderNotPaused
from services.scheduler.domain.facts import Outcome, Priority
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import RenderStatus
from tests.unit.scheduler.house_bench import H200, is_paused, slots


def workers(**changes):
    return ScriptedWorkers(**{"step_seconds": 10.0, "total_steps": 6} | changes)


async def paused(house, step=2, **body):
    return await house.until(await house.create(pause_after_step=step, **body), is_paused)


async def branch(house, render, *, key=None, account="ann", **changes):
    return await house.assembly.scheduler.branch(account, render.id, changes, idempotency_key=key)


async def go_on(house, render, step=0, account="ann"):
    return await house.assembly.scheduler.resume(account, render.id, pause_after_step=step)


async def violations(asking):
    with pytest.raises(InvalidInput) as refused:
        await asking
    return {violation.field: violation.description for violation in refused.value.violations}


async def test_a_render_pauses_after_its_step_with_a_preview_and_frees_its_runtime(open_clockwork):
    async with open_clockwork(workers()) as house:
        render = await paused(house)
        assert (render.progress.done_steps, render.runtime_id, render.attempts[-1].outcome) == (2, None, Outcome.PAUSED)
        assert render.preview_key.endswith(".2.webp")
        assert render.checkpoint_key
        assert (await house.finished(await house.create())).was_cold_start is False


async def test_a_paused_render_holds_no_slot_however_long_it_waits(open_clockwork):
    async with open_clockwork(workers(), fleet=slots(H200)) as house:
        await paused(house)
        assert (await house.finished(await house.create("bob", model="beta"))).status is RenderStatus.SUCCEEDED


async def test_a_paused_render_goes_on_from_where_it_paused(open_clockwork):
    async with open_clockwork(workers()) as house:
        render = await paused(house)
        assert not (await go_on(house, render)).is_settled
        ended = await house.finished(render)
        assert (ended.status, ended.attempt, ended.losses) == (RenderStatus.SUCCEEDED, 2, 0)
        assert [record.resumed_steps for record in ended.attempts] == [0, 2]
        assert house.workers.rendered[1].pause_after_step == 0
        assert [event.seq for event in await house.log(render)] == list(range(1, ended.last_seq + 1))


async def test_a_paused_render_may_go_on_to_the_next_pause(open_clockwork):
    async with open_clockwork(workers()) as house:
        render = await paused(house)
        await go_on(house, render, step=4)
        again = await house.until(render, lambda now: is_paused(now) and now.attempt == 2)
        assert again.progress.done_steps == 4
        await go_on(house, render)
        assert (await house.finished(render)).status is RenderStatus.SUCCEEDED


async def test_going_on_twice_is_as_good_as_once(open_clockwork):
    async with open_clockwork(workers()) as house:
        render = await paused(house)
        await go_on(house, render)
        assert not (await go_on(house, render)).is_settled
        running = await house.until(render, lambda now: now.progress.done_steps == 3)
        assert (await go_on(house, render)).status is RenderStatus.RUNNING
        assert (await house.finished(running)).attempt == 2


async def test_only_a_paused_render_goes_on(open_clockwork):
    async with open_clockwork(workers()) as house:
        running = await house.create()
        for _ in range(2):
            with pytest.raises(RenderNotPaused, match=running.id):
                await go_on(house, running)
            await house.finished(running)
        ended = await paused(house)
        await go_on(house, ended)
        await house.finished(ended)
        with pytest.raises(RenderNotPaused, match="succeeded"):
            await go_on(house, ended)
        with pytest.raises(RenderNotFound):
            await go_on(house, ended, account="bob")
        assert await violations(go_on(house, ended, step=-1)) == {"pause_after_step": "must not be negative"}


async def test_a_worker_that_is_lost_before_the_pause_does_not_make_the_render_miss_it(open_clockwork):
    async with open_clockwork(workers()) as house:
        render = await house.create(pause_after_step=3)
        running = await house.until(render, lambda now: now.progress.done_steps == 2)
        await house.workers.kill(running.runtime_id)
        again = await house.until(render, is_paused)
        assert (again.progress.done_steps, again.attempt) == (3, 2)


async def test_canceling_a_paused_render_ends_it_at_once(open_clockwork):
    async with open_clockwork(workers()) as house:
        render = await paused(house)
        canceled = await house.cancel(render)
        assert canceled.status is RenderStatus.CANCELED
        with pytest.raises(RenderNotPaused):
            await go_on(house, render)


async def test_a_cancelation_that_meets_the_pause_wins(open_clockwork):
    async with open_clockwork(workers()) as house:
        render = await house.create(pause_after_step=2)
        running = await house.until(render, lambda now: now.progress.done_steps == 1)
        house.workers.workers[running.runtime_id].ignores_cancel = True
        await house.cancel(render)
        ended = await house.finished(render)
        assert ended.status is RenderStatus.CANCELED
        assert "internal error" not in await house.messages(render)


async def test_a_paused_render_is_kept_for_its_time_and_then_expires(open_clockwork):
    async with open_clockwork(workers(), policy=Policy(paused_ttl=timedelta(minutes=10))) as house:
        render = await paused(house)
        ended = await house.finished(render)
        assert ended.status is RenderStatus.EXPIRED
        waited = (ended.ended_at - ended.attempts[-1].ended_at).total_seconds()
        assert 600 <= waited <= 631


async def test_a_render_that_went_on_does_not_expire_any_more(open_clockwork):
    async with open_clockwork(workers(), policy=Policy(paused_ttl=timedelta(seconds=60))) as house:
        render = await paused(house)
        house.workers.loading.clear()
        await house.workers.kill(render.attempts[-1].runtime_id)
        await go_on(house, render)
        await house.clock.sleep(120.0)
        house.workers.loading.set()
        assert (await house.finished(render)).status is RenderStatus.SUCCEEDED


async def test_a_branch_goes_on_from_the_paused_step_in_another_direction_and_leaves_the_paused_one(open_clockwork):
    async with open_clockwork(workers()) as house:
        render = await paused(house, seed=7, priority="high", gpu_type="H200")
        made = await branch(house, render, prompt="a dog", guidance_scale=3)
        assert (made.branch_of, made.seed, made.priority, made.pin) == (render.id, 7, Priority.HIGH, render.pin)
        ended = await house.finished(made)
        assert (ended.status, ended.attempts[0].resumed_steps) == (RenderStatus.SUCCEEDED, 2)
        told = house.workers.rendered[1]
        assert (told.checkpoint_key, told.inputs["prompt"]) == (render.checkpoint_key, "a dog")
        assert told.inputs == house.workers.rendered[0].inputs | {"prompt": "a dog", "guidance_scale": 3}
        assert is_paused(await house.get(render))


async def test_a_branch_may_have_terms_of_its_own(open_clockwork):
    async with open_clockwork(workers()) as house:
        render = await paused(house, priority="high")
        made = await branch(house, render, prompt="a dog", priority="low", pause_after_step=4, prefer="fastest")
        assert (made.priority, made.prefer, made.pause_after_step) == (Priority.LOW, "fastest", 4)
        assert (await house.until(made, is_paused)).progress.done_steps == 4


async def test_a_branch_keeps_the_terms_it_does_not_change(open_clockwork):
    async with open_clockwork(workers()) as house:
        render = await paused(house, prefer="fastest", max_cost_usd=5, on_out_of_memory="fail")
        made = await branch(house, render, prompt="a dog")
        assert (made.prefer, made.max_cost_usd, made.fail_when_out_of_memory) == ("fastest", 5.0, True)
        assert (made.deadline, made.pause_after_step) == (None, 0)


async def test_an_input_that_cannot_change_any_more_is_refused_with_those_that_can(open_clockwork):
    async with open_clockwork(workers()) as house:
        render = await paused(house, seed=7)
        found = await violations(branch(house, render, width=576, seed=8, prompt="a dog"))
        words = "cannot change any more; a branch may change: guidance_scale, prompt"
        assert found == {"width": words, "seed": words}
        assert "prompt" in await violations(branch(house, render, prompt="x" * 21))
        assert "model" in await violations(branch(house, render, model="beta"))
        assert "model_version" in await violations(branch(house, render, model_version="v2"))


async def test_only_a_paused_render_of_ones_own_can_be_branched(open_clockwork):
    async with open_clockwork(workers()) as house:
        render = await paused(house)
        with pytest.raises(RenderNotFound):
            await branch(house, render, account="bob", prompt="a dog")
        await house.cancel(render)
        with pytest.raises(RenderNotPaused):
            await branch(house, render, prompt="a dog")


async def test_the_same_branch_asked_for_with_the_same_key_is_made_once(open_clockwork):
    async with open_clockwork(workers()) as house:
        render = await paused(house)
        made = await branch(house, render, key="k", prompt="a dog")
        assert (await branch(house, render, key="k", prompt="a dog")).id == made.id
        assert (await branch(house, render, prompt="a dog")).id != made.id
        with pytest.raises(IdempotencyConflict):
            await branch(house, render, key="k", prompt="a bird")


async def test_a_branch_is_found_again_by_its_key_when_its_origin_is_no_longer_paused(open_clockwork):
    async with open_clockwork(workers()) as house:
        render = await paused(house)
        made = await branch(house, render, key="k", prompt="a dog")
        await go_on(house, render)
        assert (await branch(house, render, key="k", prompt="a dog")).id == made.id
