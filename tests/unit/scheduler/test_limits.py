"""What ends a render although nobody canceled it: deadlines, costs, run time, and waits that are too long."""

from datetime import timedelta

import pytest

from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.facts import Outcome, Phase
from services.scheduler.domain.fleet import Pin
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import RenderStatus
from tests.unit.scheduler.house_bench import H200, FixedCatalog, slots


def slow(**changes):
    return ScriptedWorkers(**{"step_seconds": 10.0, "total_steps": 100} | changes)


async def ended_at(house, render):
    """How the render ended, and how many seconds after it was accepted."""
    ended = await house.finished(render)
    return ended, (ended.ended_at - ended.created_at).total_seconds()


async def test_a_running_render_is_stopped_at_its_deadline_and_has_failed(open_clockwork):
    async with open_clockwork(slow()) as house:
        render = await house.create(deadline=house.in_seconds(100))
        ended, seconds = await ended_at(house, render)
        assert ended.error is not None
        assert (ended.status, ended.error.reason) == (RenderStatus.FAILED, "DEADLINE_EXCEEDED")
        assert 100 <= seconds <= 112, "within a step"
        assert (ended.attempts[-1].outcome, ended.attempts[-1].message) == (Outcome.FAILED, ended.error.message)
        assert (await house.messages(render))[-1] == ended.error.message
        again = await house.until(await house.create(), lambda now: now.status is RenderStatus.RUNNING)
        assert again.was_cold_start is False, "the runtime is still good"


async def test_a_render_is_stopped_at_its_deadline_while_its_runtime_starts(open_clockwork):
    async with open_clockwork(slow(load_seconds=600.0)) as house:
        ended, seconds = await ended_at(house, await house.create(deadline=house.in_seconds(100)))
        assert ended.error is not None
        assert (ended.status, ended.error.reason) == (RenderStatus.FAILED, "DEADLINE_EXCEEDED")
        assert 100 <= seconds <= 102
        assert house.workers.rendered == []


async def test_a_queued_render_expires_at_its_deadline(open_clockwork):
    async with open_clockwork(slow(), fleet=slots(H200)) as house:
        other = await house.create()
        await house.until(other, lambda now: now.status is RenderStatus.RUNNING)
        ended, seconds = await ended_at(house, await house.create(deadline=house.in_seconds(100)))
        assert (ended.status, ended.attempt, ended.error) == (RenderStatus.EXPIRED, 0, None)
        assert 100 <= seconds <= 103


async def test_a_paused_render_expires_at_its_deadline(open_clockwork):
    async with open_clockwork(slow()) as house:
        render = await house.create(deadline=house.in_seconds(300), pause_after_step=1)
        await house.until(render, lambda now: now.status is RenderStatus.PAUSED)
        ended, seconds = await ended_at(house, render)
        assert ended.status is RenderStatus.EXPIRED
        assert 300 <= seconds <= 331, "paused ones are looked at every half minute"


async def test_a_render_that_waited_too_long_for_its_first_attempt_expires_and_never_starts(open_clockwork):
    policy = Policy(queue_ttl=timedelta(seconds=60))
    async with open_clockwork(slow(), policy=policy) as house:
        for gpu_type in ("H200", "L40S"):
            await house.assembly.view.start("beta", "", Pin(gpu_type), keep_warm=True, idle_release_seconds=None)
        render = await house.create()
        assert render.expires_at - render.created_at == timedelta(seconds=60)
        ended, seconds = await ended_at(house, render)
        assert (ended.status, ended.attempt) == (RenderStatus.EXPIRED, 0)
        assert 60 <= seconds <= 63


async def test_a_render_that_has_started_in_time_may_wait_again_for_as_long_as_it_takes(open_clockwork):
    policy = Policy(queue_ttl=timedelta(seconds=60))
    async with open_clockwork(slow(total_steps=3), policy=policy) as house:
        render = await house.create()
        running = await house.until(render, lambda now: now.progress.done_steps == 1)
        assert running.expires_at is None
        house.workers.loading.clear()
        await house.workers.kill(running.runtime_id)
        await house.clock.sleep(120.0)
        house.workers.loading.set()
        assert (await house.finished(render)).status is RenderStatus.SUCCEEDED


async def test_nothing_starts_after_it_is_given_up_even_when_nobody_has_noticed_yet(open_clockwork):
    policy = Policy(queue_ttl=timedelta(seconds=60))
    async with open_clockwork(slow(total_steps=3), policy=policy, fleet=slots(H200)) as house:
        first, second = await house.create(), await house.create()
        await house.until(first, lambda now: now.status is RenderStatus.RUNNING)
        house.clock.skew_seconds = 3600.0  # the reaper has not looked yet when the runtime becomes free
        await house.cancel(first)
        ended = await house.finished(second)
        assert (ended.status, ended.attempt) == (RenderStatus.EXPIRED, 0)


async def test_a_render_that_runs_longer_than_its_version_may_is_stopped(open_clockwork):
    async with open_clockwork(slow(), catalog=FixedCatalog(max_run_seconds=200.0)) as house:
        ended, seconds = await ended_at(house, await house.create())
        assert ended.error is not None
        assert (ended.status, ended.error.reason) == (RenderStatus.FAILED, "RUN_TIME_EXCEEDED")
        assert "200 s" in ended.error.message
        assert 200 <= seconds <= 212


@pytest.mark.parametrize(("gpu_type", "usd_per_hour"), [("H200", 4.5), ("L40S", 1.8)])
async def test_a_render_is_stopped_when_it_has_cost_what_it_may(open_clockwork, gpu_type, usd_per_hour):
    async with open_clockwork(slow()) as house:
        render = await house.create(gpu_type=gpu_type, max_cost_usd=0.3)
        ended, _ = await ended_at(house, render)
        assert ended.error is not None
        assert (ended.status, ended.error.reason) == (RenderStatus.FAILED, "COST_LIMIT_EXCEEDED")
        allowed_seconds = 0.3 / usd_per_hour * 3600
        assert allowed_seconds <= ended.gpu_seconds <= allowed_seconds + 12
        assert ended.usd == pytest.approx(0.3, abs=0.02)


async def test_what_earlier_attempts_cost_counts_towards_the_limit(open_clockwork):
    async with open_clockwork(slow()) as house:
        render = await house.create(gpu_type="H200", max_cost_usd=0.3)
        running = await house.until(render, lambda now: now.progress.done_steps == 12)
        await house.workers.kill(running.runtime_id)
        ended, _ = await ended_at(house, render)
        assert ended.attempt == 2
        assert ended.usd == pytest.approx(0.3, abs=0.02)


async def test_a_render_without_limits_is_not_stopped(open_clockwork):
    async with open_clockwork(slow()) as house:
        ended, seconds = await ended_at(house, await house.create())
        assert ended.status is RenderStatus.SUCCEEDED
        assert seconds > 1000


async def test_a_render_that_misses_its_deadline_on_a_worker_that_ignores_it_fails_after_two_leases(open_clockwork):
    async with open_clockwork(slow()) as house:
        render = await house.create(deadline=house.in_seconds(100))
        running = await house.until(render, lambda now: now.progress.done_steps == 1)
        house.workers.workers[running.runtime_id].ignores_cancel = True
        ended, seconds = await ended_at(house, render)
        assert ended.error is not None
        assert ended.error.reason == "DEADLINE_EXCEEDED"
        assert 160 <= seconds <= 163


async def test_a_deadline_is_shown_and_does_not_hurry_a_render_that_keeps_it(open_clockwork):
    async with open_clockwork(slow(total_steps=3)) as house:
        render = await house.create(deadline=house.in_seconds(100))
        assert (render.deadline - render.created_at).total_seconds() == pytest.approx(100, abs=1)
        ended = await house.finished(render)
        assert (ended.status, ended.phase) == (RenderStatus.SUCCEEDED, Phase.DONE)
