"""Renders whose workers go away, hang, refuse, or say things twice."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.chassis.errors import ForgeError
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.errors import RuntimeStartFailed, WorkerLost
from services.scheduler.domain.facts import Failure, Outcome, Phase
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import Lease, RenderStatus
from services.scheduler.ports import WorkerState
from tests.unit.scheduler.house_bench import H200, at_step, slots


async def test_a_silent_worker_is_noticed_after_the_lease_and_not_before(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0)) as house:
        render = await house.create()
        running = await house.until(render, at_step(1))
        silent_since = house.clock.monotonic()
        await house.workers.silence(running.runtime_id)
        again = await house.until(render, lambda now: now.attempt == 2)
        assert 30 < house.clock.monotonic() - silent_since < 32
        assert (again.losses, again.attempts[0].outcome) == (1, Outcome.LOST)
        assert (await house.finished(render)).status is RenderStatus.SUCCEEDED


async def test_a_worker_that_hangs_for_less_than_the_lease_has_lost_nothing(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0)) as house:
        render = await house.create()
        running = await house.until(render, at_step(1))
        await house.workers.silence(running.runtime_id)
        await house.clock.sleep(25.0)
        await house.workers.silence(running.runtime_id, is_silent=False)
        ended = await house.finished(render)
        assert (ended.status, ended.attempt) == (RenderStatus.SUCCEEDED, 1)


async def test_a_worker_that_hung_past_its_lease_and_goes_on_changes_nothing(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0)) as house:
        render = await house.create()
        running = await house.until(render, at_step(1))
        zombie = house.workers.workers[running.runtime_id]
        await house.workers.silence(running.runtime_id)
        await house.until(render, at_step(1, attempt=2))
        assert zombie.is_killed
        ended = await house.finished(render)
        assert ended.output.key == f"renders/{render.id}/2/video.mp4"
        log = await house.log(render)
        assert [event.seq for event in log] == list(range(1, ended.last_seq + 1))
        assert [event.attempt for event in log] == sorted(event.attempt for event in log)


@pytest.mark.parametrize("is_leased_again", [False, True])
async def test_an_attempt_whose_render_has_moved_on_without_it_stops_its_worker_and_writes_nothing(
    open_clockwork, is_leased_again
):
    def moved_on(render):
        queued = render.released(house.clock.now(), "taken away")
        lease = Lease("rt_x", H200, True, house.clock.now() + timedelta(days=1), "elsewhere")
        return queued.leased(lease, house.clock.now()) if is_leased_again else queued

    async with open_clockwork(ScriptedWorkers(step_seconds=10.0)) as house:
        render = await house.create()
        running = await house.until(render, at_step(1))
        await house.store.advance(render.id, moved_on, "moved on")
        await house.clock.sleep(15.0)
        assert house.workers.cancels == [(render.id, 1)]
        assert (await house.log(render))[-1].message == "moved on"
        runtime = house.assembly.runtimes.get(running.runtime_id)
        assert not runtime.is_busy, "it may take the next render"


async def test_a_closed_connection_is_noticed_at_once(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0)) as house:
        render = await house.create()
        running = await house.until(render, at_step(1))
        lost_at = house.clock.monotonic()
        await house.workers.kill(running.runtime_id)
        await house.until(render, lambda now: now.attempt == 2)
        assert house.clock.monotonic() - lost_at < 0.5


async def test_a_lost_worker_costs_an_attempt_and_the_render_goes_on_from_its_checkpoint(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0)) as house:
        render = await house.create()
        running = await house.until(render, at_step(2))
        await house.workers.kill(running.runtime_id)
        ended = await house.finished(render)
        assert (ended.status, ended.attempt, ended.epoch, ended.losses) == (RenderStatus.SUCCEEDED, 2, 2, 1)
        first, second = house.workers.rendered
        assert (first.checkpoint_key, second.checkpoint_key) == ("", f"renders/{render.id}/1/video.mp4.safetensors")
        assert [record.resumed_steps for record in ended.attempts] == [0, 2]
        assert ended.checkpoint_key == "", "what is done needs none"
        assert [event.seq for event in await house.log(render)] == list(range(1, ended.last_seq + 1))


async def test_nobody_pays_for_a_worker_that_is_gone(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0)) as house:
        render = await house.create()
        running = await house.until(render, at_step(1))
        await house.workers.silence(running.runtime_id)
        again = await house.until(render, lambda now: now.attempt == 2)
        assert 10.0 <= again.attempts[0].gpu_seconds < 15.0, "up to its last sign of life, not up to the lease's end"
        ended = await house.finished(render)
        assert ended.gpu_seconds == sum(record.gpu_seconds for record in ended.attempts)
        assert ended.attempts[1].gpu_seconds == pytest.approx(20.0, abs=1.0)


async def test_a_render_that_loses_three_workers_has_failed_with_the_evidence(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0, total_steps=9)) as house:
        render = await house.create()
        for attempt in (1, 2, 3):
            now = await house.until(render, at_step(attempt, attempt))
            await house.workers.kill(now.runtime_id)
        ended = await house.finished(render)
        assert (ended.status, ended.attempt) == (RenderStatus.FAILED, 3)
        assert ended.error == Failure("WORKER_LOST", "3 workers were lost while rendering it", retry=True)
        assert [(record.outcome, record.message) for record in ended.attempts] == [
            (Outcome.LOST, "the worker was lost")
        ] * 3
        assert len({record.runtime_id for record in ended.attempts}) == 3
        assert ended.checkpoint_key, "a retry goes on from there"


async def test_a_worker_that_takes_leave_costs_the_render_nothing_and_leaves_its_checkpoint(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0, total_steps=9)) as house:
        render = await house.create()
        for attempt in range(1, 6):
            now = await house.until(render, at_step(attempt, attempt))
            worker = house.workers.workers[now.runtime_id]
            await house.workers.terminate(worker.id, None, kindly=True)
        ended = await house.finished(render)
        assert (ended.status, ended.attempt, ended.losses) == (RenderStatus.SUCCEEDED, 6, 0)
        assert [record.outcome for record in ended.attempts] == [Outcome.RELEASED] * 5 + [Outcome.SUCCEEDED]
        assert [record.resumed_steps for record in ended.attempts] == [0, 2, 3, 4, 5, 6], "one step more than was told"


async def test_a_checkpoint_that_only_the_last_word_tells_of_is_kept(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0)) as house:
        render = await house.create()
        now = await house.until(render, lambda now: now.phase is Phase.DENOISING)
        assert now.checkpoint_key == ""
        await house.workers.terminate(now.runtime_id, None, kindly=True)
        ended = await house.finished(render)
        assert [record.resumed_steps for record in ended.attempts] == [0, 1]


async def test_a_worker_at_something_else_costs_the_render_nothing_and_is_not_asked_again(open_clockwork):
    workers = ScriptedWorkers()
    workers.occupied_calls = 1
    async with open_clockwork(workers) as house:
        ended = await house.finished(await house.create())
        assert (ended.status, ended.attempt, ended.losses) == (RenderStatus.SUCCEEDED, 2, 0)
        assert ended.attempts[0].runtime_id != ended.attempts[1].runtime_id
        assert (ended.attempts[0].runtime_id, False) in workers.terminated


@pytest.mark.parametrize(("reason", "is_spoiled"), [("OUT_OF_MEMORY", True), ("ENGINE_FAILED", True), ("BAD", False)])
async def test_a_failing_engine_fails_the_render_and_a_spoiled_worker_is_not_used_again(
    open_clockwork, reason, is_spoiled
):
    workers = ScriptedWorkers()
    workers.render_failure = Failure(reason, "too large", retry=True)
    async with open_clockwork(workers, fleet=slots(H200)) as house:
        ended = await house.finished(await house.create())
        assert ended.error == workers.render_failure
        assert (await house.log(ended))[-1].error == workers.render_failure
        assert ended.attempts[-1].outcome is Outcome.FAILED
        workers.render_failure = None
        again = await house.finished(await house.create())
        assert again.status is RenderStatus.SUCCEEDED
        assert again.was_cold_start is is_spoiled


async def test_what_a_worker_says_twice_is_written_once(open_clockwork):
    async def told(twice):
        workers = ScriptedWorkers()
        workers.says_everything_twice = twice
        async with open_clockwork(workers) as house:
            render = await house.finished(await house.create())
            return [event.message for event in await house.log(render)]

    assert await told(twice=True) == await told(twice=False)


async def test_a_start_that_may_succeed_later_is_tried_again_and_fails_with_its_own_reason(open_clockwork):
    workers = ScriptedWorkers()
    workers.launch_error = RuntimeStartFailed("no process could be made", retry=True)
    async with open_clockwork(workers) as house:
        ended = await house.finished(await house.create())
        assert (ended.status, ended.attempt) == (RenderStatus.FAILED, 3)
        words = "the runtime could not be started: no process could be made"
        assert ended.error == Failure("RUNTIME_START_FAILED", words, retry=True)


async def test_a_start_that_is_silent_for_a_lease_is_given_up(open_clockwork):
    workers = ScriptedWorkers()
    workers.loads_in_silence = True
    async with open_clockwork(workers) as house:
        render = await house.create()
        began = house.clock.monotonic()
        again = await house.until(render, lambda now: now.attempt == 2)
        assert 30 <= house.clock.monotonic() - began < 33
        assert again.attempts[0].outcome is Outcome.LOST
        workers.loads_in_silence = False
        assert (await house.finished(render)).status is RenderStatus.SUCCEEDED


async def test_a_long_start_that_speaks_is_waited_for(open_clockwork):
    async with open_clockwork(ScriptedWorkers(load_seconds=300.0)) as house:
        ended = await house.finished(await house.create())
        assert (ended.status, ended.attempt) == (RenderStatus.SUCCEEDED, 1)
        assert ended.timing.cold_start_ms == pytest.approx(300_000, abs=1000)
        phases = {event.phase for event in await house.log(ended)}
        assert Phase.STARTING in phases


@pytest.mark.parametrize(
    "answer",
    [
        WorkerLost(),
        ForgeError("what a surprise"),
        WorkerState("another worker", "ready", "alpha", "v1", ""),
        WorkerState("", "failed", "", "", ""),
    ],
)
async def test_an_idle_worker_that_does_not_answer_well_is_dropped_and_nobody_else_is_disturbed(open_clockwork, answer):
    class Odd(ScriptedWorkers):
        async def state(self, address):
            if isinstance(answer, Exception):
                raise answer
            return replace(answer, worker_id=answer.worker_id or address)

    async with open_clockwork(Odd()) as house:
        first = await house.finished(await house.create())
        await house.clock.sleep(10.0)
        assert (first.attempts[0].runtime_id, False) in house.workers.terminated
        second = await house.finished(await house.create())
        assert second.status is RenderStatus.SUCCEEDED


async def test_unexpected_trouble_fails_the_render_with_words_for_strangers(open_clockwork):
    class Broken(ScriptedWorkers):
        async def render(self, address, assignment, after_seq):
            raise ZeroDivisionError("secret detail")
            yield

    async with open_clockwork(Broken()) as house:
        ended = await house.finished(await house.create())
        assert ended.error == Failure("INTERNAL", "internal error")


async def test_a_lease_is_as_long_as_the_installation_says(open_clockwork):
    async with open_clockwork(ScriptedWorkers(step_seconds=1.0), policy=Policy(lease_seconds=7.0)) as house:
        render = await house.create()
        running = await house.until(render, at_step(1))
        silent_since = house.clock.monotonic()
        await house.workers.silence(running.runtime_id)
        await house.until(render, lambda now: now.attempt == 2)
        assert 7 < house.clock.monotonic() - silent_since < 9


@pytest.mark.parametrize("seconds", [-600.0, 600.0])
async def test_a_wall_clock_that_jumps_costs_nobody_a_worker_and_nobody_money(open_clockwork, seconds):
    async with open_clockwork(ScriptedWorkers(step_seconds=10.0)) as house:
        render = await house.create()
        await house.until(render, at_step(1))
        house.clock.skew_seconds = seconds
        ended = await house.finished(render)
        assert (ended.status, ended.attempt) == (RenderStatus.SUCCEEDED, 1)
        assert ended.gpu_seconds == pytest.approx(30.0, abs=1.0)
        assert timedelta(milliseconds=ended.timing.total_ms) >= timedelta(0)
