"""Asking twice for the same, and asking again for what ended without a video."""

import asyncio
from datetime import timedelta

import pytest

from services.chassis.errors import ForgeError
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.errors import IdempotencyConflict, RenderNotFound, RenderNotRetryable
from services.scheduler.domain.facts import Failure, Prefer, Priority
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import RenderStatus
from tests.unit.scheduler.house_bench import FixedCatalog


def slow(**changes):
    return ScriptedWorkers(**{"step_seconds": 10.0, "total_steps": 6} | changes)


async def retry(house, render, account="ann"):
    return await house.assembly.scheduler.retry(account, render.id)


async def failed(house, step=2, **body):
    """A render that failed with steps in its checkpoint."""
    render = await house.create(**body)
    running = await house.until(render, lambda now: now.progress.done_steps == step)
    worker = house.workers.workers[running.runtime_id]
    worker.failure = Failure("BAD_LUCK", "it happens", retry=True)
    ended = await house.finished(render)
    worker.failure = None
    return ended


async def test_fifty_requests_at_once_with_one_key_make_one_render(open_house):
    async with open_house() as house:
        made = await asyncio.gather(*(house.create(idempotency_key="k") for _ in range(50)))
        assert len({render.id for render in made}) == 1
        other = await house.create("bob", idempotency_key="k")
        assert other.id != made[0].id, "a key belongs to its account"
        await house.finished(other)
        await house.finished(made[0])
        assert len(house.workers.rendered) == 2


async def test_a_key_that_was_used_with_another_body_is_refused(open_clockwork):
    async with open_clockwork() as house:
        await house.create(idempotency_key="k")
        with pytest.raises(IdempotencyConflict):
            await house.create(idempotency_key="k", prompt="a dog")


async def test_the_request_id_in_the_body_is_a_key_too(open_clockwork):
    async with open_clockwork() as house:
        first, again = [await house.create(request_id="k") for _ in range(2)]
        assert first.id == again.id
        assert (await house.create()).id != (await house.create()).id


async def test_who_waits_with_the_key_of_a_render_that_runs_gets_that_render(open_clockwork):
    async with open_clockwork(slow()) as house:
        infer = house.assembly.scheduler.infer
        options = {"path_slug": "alpha", "idempotency_key": "k", "cancel_on_disconnect": False}
        first = await infer("ann", {"prompt": "a cat"}, wait_seconds=15, **options)
        assert not first.is_final
        again = await infer("ann", {"prompt": "a cat"}, wait_seconds=600, **options)
        assert (again.id, again.status) == (first.id, RenderStatus.SUCCEEDED)


async def test_a_replay_is_answered_however_full_the_house_is(open_clockwork):
    policy = Policy(max_queued_per_account=1, gpu_seconds_per_day=0.001, max_queued_gpu_seconds_per_target=0.001)
    async with open_clockwork(policy=policy) as house:
        first = await house.finished(await house.create(idempotency_key="k"))
        await house.settle()
        with pytest.raises(ForgeError):
            await house.create()
        assert (await house.create(idempotency_key="k")).id == first.id


async def test_a_replay_is_answered_after_its_deadline_and_without_the_catalogue(open_clockwork):
    catalog = FixedCatalog()
    async with open_clockwork(catalog=catalog) as house:
        body = {"deadline": house.in_seconds(60), "idempotency_key": "k"}
        first = await house.finished(await house.create(**body))
        await house.clock.sleep(120.0)
        catalog.answers = False
        assert (await house.create(**body)).id == first.id
        with pytest.raises(IdempotencyConflict):
            await house.create(**body, prompt="a dog")


async def test_a_key_is_forgotten_after_a_day(open_clockwork):
    async with open_clockwork() as house:
        first = await house.finished(await house.create(idempotency_key="k"))
        house.clock.skew_seconds = timedelta(hours=23, minutes=59).total_seconds()
        assert (await house.create(idempotency_key="k")).id == first.id
        house.clock.skew_seconds += 120.0
        second = await house.create(idempotency_key="k", prompt="a dog")
        assert second.id != first.id
        assert (await house.create(idempotency_key="k", prompt="a dog")).id == second.id
        assert (await house.get(first)).status is RenderStatus.SUCCEEDED


async def test_a_retry_goes_on_from_the_checkpoint_with_the_same_inputs_and_seed(open_clockwork):
    async with open_clockwork(slow()) as house:
        ended = await failed(house, seed=7, priority="high", prefer="fastest", gpu_type="H200", max_cost_usd=5)
        made = await retry(house, ended)
        assert made.id != ended.id
        assert (made.retry_of, made.seed, made.pin) == (ended.id, 7, ended.pin)
        assert (made.priority, made.prefer, made.max_cost_usd) == (Priority.HIGH, Prefer.FASTEST, 5.0)
        again = await house.finished(made)
        assert (again.status, again.attempts[0].resumed_steps) == (RenderStatus.SUCCEEDED, 6)
        first, second = house.workers.rendered
        assert (second.inputs, second.checkpoint_key) == (first.inputs, ended.checkpoint_key)
        assert (await house.get(ended)).status is RenderStatus.FAILED, "what has ended stays as it is"


async def test_a_retry_has_no_deadline_of_its_own(open_clockwork):
    async with open_clockwork(slow()) as house:
        ended = await house.finished(await house.create(deadline=house.in_seconds(30)))
        assert ended.status is RenderStatus.FAILED
        made = await retry(house, ended)
        assert made.deadline is None
        assert (await house.finished(made)).status is RenderStatus.SUCCEEDED


async def test_asking_for_a_retry_again_gives_the_same_one_however_late(open_clockwork):
    async with open_clockwork(slow()) as house:
        ended = await failed(house)
        made = await asyncio.gather(*(retry(house, ended) for _ in range(20)))
        assert len({render.id for render in made}) == 1
        await house.finished(made[0])
        house.clock.skew_seconds = timedelta(days=30).total_seconds()
        assert (await retry(house, ended)).id == made[0].id


async def test_a_retry_that_failed_can_be_retried_itself(open_clockwork):
    async with open_clockwork(slow()) as house:
        ended = await failed(house)
        house.workers.render_failure = Failure("BAD_LUCK", "again", retry=True)
        second = await house.finished(await retry(house, ended))
        assert second.status is RenderStatus.FAILED
        house.workers.render_failure = None
        third = await retry(house, second)
        assert third.retry_of == second.id
        assert (await house.finished(third)).status is RenderStatus.SUCCEEDED


async def test_canceled_and_expired_renders_are_retried_and_no_others(open_clockwork):
    policy = Policy(queue_ttl=timedelta(seconds=30))
    async with open_clockwork(slow(load_seconds=5.0), policy=policy) as house:
        blockers = [await house.create("bob", model="beta") for _ in range(2)]
        await house.until(blockers[1], lambda now: now.status is RenderStatus.RUNNING)
        canceled, expired = [await house.create() for _ in range(2)]
        await house.cancel(canceled)
        assert (await house.finished(expired)).status is RenderStatus.EXPIRED
        for blocker in blockers:
            with pytest.raises(RenderNotRetryable, match=r"running|queued"):
                await retry(house, blocker, account="bob")
            await house.finished(blocker)
            with pytest.raises(RenderNotRetryable, match="succeeded"):
                await retry(house, blocker, account="bob")
            with pytest.raises(RenderNotFound):
                await retry(house, blocker)
        for ended in (canceled, expired):
            assert (await house.finished(await retry(house, ended))).status is RenderStatus.SUCCEEDED


async def test_a_retry_passes_the_same_admission_as_any_other_render(open_clockwork):
    async with open_clockwork(slow(), policy=Policy(gpu_seconds_per_day=1.0)) as house:
        ended = await failed(house)
        await house.settle()
        with pytest.raises(ForgeError) as refused:
            await retry(house, ended)
        assert refused.value.reason == "QUOTA_EXCEEDED"
