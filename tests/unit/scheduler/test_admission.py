"""What is not taken on, and when to come back."""

import asyncio

import pytest

from services.chassis.errors import ForgeError
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.demand import entry_of
from services.scheduler.domain.errors import CostLimitExceeded, QuotaExceeded, TargetOverloaded
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import RenderStatus
from services.scheduler.domain.shares import DAY_SECONDS
from tests.unit.scheduler.house_bench import H200, L40S, FixedEstimates, slots


def slow(**changes):
    return ScriptedWorkers(**{"step_seconds": 10.0, "total_steps": 6} | changes)


async def refused(asking, kind):
    with pytest.raises(kind) as refusal:
        await asking
    return refusal.value


async def busy(house, account="bob", **body):
    """Renders on all slots, so that what follows waits."""
    for slot in house.assembly.runtimes.fleet.slots:
        render = await house.create(account, gpu_type=slot.target.gpu_type, **body)
        await house.until(render, lambda now: now.status is RenderStatus.RUNNING)


async def test_an_account_may_have_so_many_waiting_and_comes_back_when_one_is_expected_to_be_gone(open_clockwork):
    estimates = FixedEstimates(request_seconds=60.0, start_seconds=30.0)
    policy = Policy(max_queued_per_account=3)
    async with open_clockwork(slow(), policy=policy, estimates=estimates, fleet=slots(H200)) as house:
        await busy(house)
        for _ in range(3):
            await house.create()
        refusal = await refused(house.create(), QuotaExceeded)
        assert (refusal.reason, refusal.metadata["quota"]) == ("QUOTA_EXCEEDED", "max_queued")
        assert 10 <= refusal.retry_after_seconds <= 120, "a render takes a minute"
        assert (await house.create("cat")).status is RenderStatus.QUEUED, "quotas are each account's own"


async def test_who_comes_back_when_told_to_is_let_in(open_clockwork):
    policy = Policy(max_queued_per_account=2)
    estimates = FixedEstimates(request_seconds=60.0, start_seconds=30.0)
    async with open_clockwork(slow(), policy=policy, estimates=estimates, fleet=slots(H200)) as house:
        await busy(house)
        for _ in range(2):
            await house.create()
        tries = 0
        while True:
            try:
                await house.create()
                break
            except QuotaExceeded as refusal:
                tries += 1
                await house.clock.sleep(refusal.retry_after_seconds)
        assert 1 <= tries <= 3


async def test_renders_that_are_canceled_make_room_again(open_clockwork):
    async with open_clockwork(slow(), policy=Policy(max_queued_per_account=1), fleet=slots(H200)) as house:
        await busy(house)
        waiting = await house.create()
        await refused(house.create(), QuotaExceeded)
        await house.cancel(waiting)
        assert (await house.create()).status is RenderStatus.QUEUED


async def test_many_requests_at_once_do_not_slip_past_the_limit(open_clockwork):
    async with open_clockwork(slow(), policy=Policy(max_queued_per_account=5), fleet=slots(H200)) as house:
        await busy(house)
        answers = await asyncio.gather(*(house.create() for _ in range(40)), return_exceptions=True)
        accepted = [answer for answer in answers if not isinstance(answer, ForgeError)]
        assert len(accepted) == 5


async def test_the_same_request_many_times_at_once_is_one_request_to_a_quota_too(open_clockwork):
    async with open_clockwork(slow(), policy=Policy(max_queued_per_account=1), fleet=slots(H200)) as house:
        await busy(house)
        made = await asyncio.gather(*(house.create(idempotency_key="k") for _ in range(20)))
        assert len({render.id for render in made}) == 1


async def test_device_time_of_24_hours_is_limited_and_frees_itself(open_clockwork):
    async with open_clockwork(slow(), policy=Policy(gpu_seconds_per_day=100.0)) as house:
        for _ in range(2):
            await house.finished(await house.create())
        await house.settle()
        refusal = await refused(house.create(), QuotaExceeded)
        assert refusal.metadata["quota"] == "gpu_seconds_per_day"
        assert DAY_SECONDS - 130 < refusal.retry_after_seconds < DAY_SECONDS
        assert (await house.finished(await house.create("bob"))).status is RenderStatus.SUCCEEDED


async def test_device_time_that_was_used_before_a_restart_counts(open_clockwork):
    workers, policy = slow(), Policy(gpu_seconds_per_day=100.0)
    async with open_clockwork(workers, policy=policy) as house:
        for _ in range(2):
            await house.finished(await house.create())
    async with open_clockwork(workers, policy=policy) as house:
        await refused(house.create(), QuotaExceeded)
        assert (await house.finished(await house.create("bob"))).status is RenderStatus.SUCCEEDED


async def test_device_time_of_a_render_that_is_paused_counts_over_a_restart_too(open_clockwork):
    workers, policy = slow(), Policy(gpu_seconds_per_day=15.0)
    async with open_clockwork(workers, policy=policy) as house:
        render = await house.create(pause_after_step=2)
        await house.until(render, lambda now: now.status is RenderStatus.PAUSED)
        await house.settle()
        await refused(house.create(), QuotaExceeded)
    async with open_clockwork(workers, policy=policy) as house:
        await refused(house.create(), QuotaExceeded)


async def test_device_time_of_an_attempt_that_ended_with_its_scheduler_counts(open_clockwork):
    workers, policy = slow(), Policy(gpu_seconds_per_day=15.0)
    async with open_clockwork(workers, policy=policy) as house:
        render = await house.create()
        running = await house.until(render, lambda now: now.progress.done_steps == 2)
        house.crash()
        await workers.kill(running.runtime_id)
    async with open_clockwork(workers, policy=policy) as house:
        await refused(house.create(), QuotaExceeded)


async def test_a_target_takes_on_no_more_than_so_much_waiting_work(open_clockwork):
    estimates = FixedEstimates(request_seconds=60.0, start_seconds=30.0)
    policy = Policy(max_queued_gpu_seconds_per_target=180.0)
    async with open_clockwork(slow(), policy=policy, estimates=estimates, fleet=slots(H200, L40S)) as house:
        await busy(house)
        for _ in range(3):
            await house.create(gpu_type="H200")
        refusal = await refused(house.create(gpu_type="H200"), TargetOverloaded)
        assert refusal.reason == "TARGET_OVERLOADED"
        assert 1 <= refusal.retry_after_seconds <= 180
        assert (await house.create(gpu_type="L40S")).status is RenderStatus.QUEUED
        assert (await house.create()).status is RenderStatus.QUEUED, "it may go to the other one"


async def test_a_limit_of_cost_that_no_target_can_keep_is_refused_with_what_it_would_take(open_clockwork):
    async with open_clockwork() as house:
        refusal = await refused(house.create(max_cost_usd=0.05), CostLimitExceeded)
        assert refusal.reason == "COST_LIMIT_EXCEEDED"
        assert [v.field for v in refusal.violations] == ["max_cost_usd"]
        assert "0.1000" in refusal.violations[0].description
        pinned = await refused(house.create(max_cost_usd=0.15, gpu_type="H200"), CostLimitExceeded)
        assert "0.2000" in pinned.violations[0].description
        assert (await house.finished(await house.create(max_cost_usd=0.15))).target == L40S


async def test_renders_of_many_limits_wait_as_few_kinds(open_clockwork):
    async with open_clockwork(slow()) as house:
        await busy(house)
        renders = [await house.create(max_cost_usd=cent / 100) for cent in range(11, 61)]
        kinds = {entry_of(render).demand for render in renders}
        assert len(kinds) == 2, "those that can pay for any device, and those for one"


async def test_what_is_refused_leaves_nothing_behind(open_clockwork):
    async with open_clockwork(slow(), policy=Policy(max_queued_per_account=1), fleet=slots(H200)) as house:
        await busy(house)
        await house.create()
        await refused(house.create(idempotency_key="k"), QuotaExceeded)
        page = await house.assembly.scheduler.page("ann", status="", slug="", page_size=0, page_token="")
        assert len(page.renders) == 1
        await house.cancel(page.renders[0])
        assert (await house.create(idempotency_key="k", prompt="a dog")).status is RenderStatus.QUEUED


async def test_an_account_runs_so_many_at_once_and_its_others_wait(open_clockwork):
    async with open_clockwork(slow(), policy=Policy(max_running_per_account=1)) as house:
        first, second = [await house.create() for _ in range(2)]
        await house.until(first, lambda now: now.progress.done_steps == 1)
        assert (await house.get(second)).status is RenderStatus.QUEUED
        other = await house.until(await house.create("bob"), lambda now: now.status is RenderStatus.RUNNING)
        assert other.attempt == 1
        ended = [await house.finished(render) for render in (first, second)]
        assert ended[1].started_at >= ended[0].ended_at
