"""A render's life, from being asked for to its end."""

import asyncio
from datetime import timedelta

import pytest

from services.chassis.errors import ForgeError, InvalidInput
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.errors import (
    IdempotencyConflict,
    NoFreeSlot,
    RenderNotFound,
    RuntimeBusy,
    RuntimeStartFailed,
    TargetNotOffered,
    UnknownTarget,
    VideoNotReady,
)
from services.scheduler.domain.fleet import Pin
from services.scheduler.domain.render import Failure, PeakMemory, Phase, RenderStatus


async def test_a_render_runs_to_its_video(open_house):
    async with open_house() as house:
        render = await house.finished(await house.create())
        assert render.status is RenderStatus.SUCCEEDED
        assert render.progress.done_steps == render.progress.total_steps == 3
        assert render.progress.fraction == 1.0
        assert render.output is not None
        assert render.output.key == f"renders/{render.id}/1/video.mp4"
        assert render.timing.model_ms == 60
        assert render.timing.cold_start_ms is not None
        assert "the aspect ratio changed" in render.warnings
        assert (render.mode, render.timing.eta_error) == ("scripted", 0.25)
        assert render.peak_memory == {"denoising": PeakMemory(1000, 2000)}
        video = await house.assembly.scheduler.video("ann", render.id)
        assert video.sha256 == "ab" * 32
        assert b"".join([part async for part in video.bytes]) == b"video"


async def test_the_log_counts_from_one_without_gaps_and_ends_with_the_end(open_house):
    async with open_house() as house:
        render = await house.finished(await house.create())
        log = await house.log(render)
        assert [event.seq for event in log] == list(range(1, render.last_seq + 1))
        assert [event.is_last for event in log] == [False] * (len(log) - 1) + [True]
        assert log[0].status is RenderStatus.QUEUED
        assert {Phase.STARTING, Phase.DENOISING, Phase.DONE} <= {event.phase for event in log}


@pytest.mark.parametrize("after_seq", [0, 1, 4])
async def test_a_watcher_sees_every_event_after_the_asked_one_once_and_then_the_end(open_house, after_seq):
    async with open_house(ScriptedWorkers(free=False)) as house:
        render = await house.create()
        await house.until(render, lambda now: now.last_seq >= 4)
        watch = await house.assembly.scheduler.watch("ann", render.id, after_seq=after_seq)
        await house.workers.let_through(100)
        seen = [event.seq async for event in watch]
        log = await house.log(render)
        assert seen == [event.seq for event in log if event.seq > after_seq]


async def test_watching_from_beyond_the_log_is_refused(open_house):
    async with open_house(ScriptedWorkers(free=False)) as house:
        render = await house.create()
        for after_seq in (-1, 1000):
            with pytest.raises(InvalidInput, match="after_seq"):
                await house.assembly.scheduler.watch("ann", render.id, after_seq=after_seq)


async def test_another_accounts_render_does_not_exist(open_house):
    async with open_house() as house:
        render = await house.create("ann")
        scheduler = house.assembly.scheduler
        for ask in (scheduler.get, scheduler.cancel, scheduler.video):
            with pytest.raises(RenderNotFound):
                await ask("bob", render.id)
        with pytest.raises(RenderNotFound):
            await scheduler.watch("bob", render.id, after_seq=0)
        assert (await scheduler.page("bob", status="", slug="", page_size=0, page_token="")).renders == []


async def test_the_same_idempotency_key_and_body_give_the_same_render(open_house):
    async with open_house() as house:
        made = await asyncio.gather(*(house.create(idempotency_key="k") for _ in range(50)))
        assert len({render.id for render in made}) == 1
        with pytest.raises(IdempotencyConflict):
            await house.create(idempotency_key="k", prompt="a dog")
        other = await house.create("bob", idempotency_key="k")
        assert other.id != made[0].id


async def test_a_second_request_finds_the_runtime_warm(open_house):
    async with open_house() as house:
        first = await house.finished(await house.create())
        second = await house.finished(await house.create())
        assert (first.was_cold_start, second.was_cold_start) == (True, False)
        assert second.timing.cold_start_ms is None
        assert house.workers.launched == [str(first.target)]


async def test_without_a_pin_a_cold_start_goes_to_the_cheapest_free_target(open_house):
    async with open_house() as house:
        render = await house.finished(await house.create())
        assert str(render.target) == "L40S@eu-north1"
        assert render.estimated_cost_usd == 0.4


async def test_a_pin_decides_the_target(open_house):
    async with open_house() as house:
        render = await house.finished(await house.create(gpu_type="H200", region="eu-north2"))
        assert str(render.target) == "H200@eu-north2"
        assert render.target.simulated


async def test_a_target_nobody_knows_is_refused_with_those_known(open_house):
    async with open_house() as house:
        with pytest.raises(UnknownTarget, match=r"B2000.*B300, H200, L40S"):
            await house.create(gpu_type="B2000")
        with pytest.raises(UnknownTarget, match="region"):
            await house.create(region="mars")


async def test_a_known_target_that_the_fleet_lacks_is_refused_with_those_it_offers(open_house):
    async with open_house() as house:
        with pytest.raises(TargetNotOffered) as refused:
            await house.create(gpu_type="B300")
        assert refused.value.metadata["offered"] == "H200@eu-north2, L40S@eu-north1"


async def test_renders_beyond_the_slots_wait_in_order(open_house):
    async with open_house(ScriptedWorkers(free=False)) as house:
        renders = [await house.create() for _ in range(4)]
        await house.until(renders[1], lambda now: now.status is RenderStatus.RUNNING)
        waiting = [await house.assembly.scheduler.get("ann", render.id) for render in renders[2:]]
        assert [render.progress.queue_position for render in waiting] == [1, 2]
        await house.workers.let_through(100)
        assert [(await house.finished(render)).status for render in renders] == [RenderStatus.SUCCEEDED] * 4


async def test_the_longest_idle_runtime_makes_room_for_another_model(open_house):
    async with open_house() as house:
        first = await house.finished(await house.create(gpu_type="H200"))
        await house.finished(await house.create(gpu_type="L40S"))
        other = await house.finished(await house.create(model="beta"))
        assert other.status is RenderStatus.SUCCEEDED
        assert other.target == first.target


async def test_a_runtime_that_is_kept_warm_makes_no_room(open_house):
    async with open_house() as house:
        for gpu_type in ("H200", "L40S"):
            await house.assembly.view.start("alpha", "", Pin(gpu_type), keep_warm=True)
        with pytest.raises(NoFreeSlot):
            await house.assembly.view.start("beta", "", Pin(), keep_warm=False)


async def test_canceling_a_queued_render_ends_it_at_once(open_house):
    async with open_house(ScriptedWorkers(free=False)) as house:
        renders = [await house.create() for _ in range(3)]
        await house.until(renders[1], lambda now: now.status is RenderStatus.RUNNING)
        canceled = await house.assembly.scheduler.cancel("ann", renders[2].id)
        assert canceled.status is RenderStatus.CANCELED
        assert canceled.timing.total_ms is not None


async def test_canceling_a_running_render_ends_it_without_a_video_and_frees_its_runtime(open_house):
    async with open_house(ScriptedWorkers(free=False)) as house:
        render = await house.create()
        await house.workers.let_through(2)
        await house.until(render, lambda now: now.progress.done_steps == 1)
        assert (await house.assembly.scheduler.cancel("ann", render.id)).status in ("canceling", "canceled")
        ended = await house.finished(render)
        assert ended.status is RenderStatus.CANCELED
        with pytest.raises(VideoNotReady):
            await house.assembly.scheduler.video("ann", render.id)
        await house.workers.let_through(100)
        again = await house.finished(await house.create())
        assert again.was_cold_start is False


async def test_canceling_during_the_cold_start_ends_the_render_and_leaves_the_start_alone(open_house):
    workers = ScriptedWorkers()
    workers.loading.clear()
    async with open_house(workers) as house:
        render = await house.create()
        await house.until(render, lambda now: now.phase is Phase.STARTING and now.last_seq >= 3)
        await house.assembly.scheduler.cancel("ann", render.id)
        assert (await house.finished(render)).status is RenderStatus.CANCELED
        workers.loading.set()
        _, was_cold = await house.assembly.view.start("alpha", "", Pin("L40S"), keep_warm=False)
        assert len(workers.launched) == 1
        assert was_cold in (True, False)


async def test_canceling_a_finished_render_changes_nothing(open_house):
    async with open_house() as house:
        render = await house.finished(await house.create())
        assert await house.assembly.scheduler.cancel("ann", render.id) == render


async def test_a_lost_worker_costs_an_attempt_and_the_render_goes_on_in_the_same_log(open_house):
    async with open_house(ScriptedWorkers(free=False)) as house:
        render = await house.create()
        await house.workers.let_through(2)
        await house.until(render, lambda now: now.progress.done_steps == 1)
        await house.workers.kill(next(iter(house.workers.workers)))
        await house.workers.let_through(100)
        ended = await house.finished(render)
        assert (ended.status, ended.attempt, ended.epoch) == (RenderStatus.SUCCEEDED, 2, 2)
        assert [event.seq for event in await house.log(render)] == list(range(1, ended.last_seq + 1))


async def test_a_second_attempt_is_given_the_newest_checkpoint_of_the_first(open_house):
    async with open_house(ScriptedWorkers(free=False)) as house:
        render = await house.create()
        await house.workers.let_through(2)
        await house.until(render, lambda now: bool(now.checkpoint_key))
        await house.workers.kill(next(iter(house.workers.workers)))
        await house.workers.let_through(100)
        ended = await house.finished(render)
        first, second = house.workers.rendered
        assert (first.checkpoint_key, second.checkpoint_key) == ("", f"renders/{render.id}/1/video.mp4.safetensors")
        assert ended.checkpoint_key == ""


@pytest.mark.parametrize(("asked", "fails"), [({}, False), ({"on_out_of_memory": "fail"}, True)])
async def test_a_render_may_forbid_to_go_on_with_less_memory(open_house, asked, fails):
    async with open_house() as house:
        await house.finished(await house.create(**asked))
        assert [assignment.fail_when_out_of_memory for assignment in house.workers.rendered] == [fails]


async def test_another_word_for_what_to_do_without_memory_is_refused(open_house):
    async with open_house() as house:
        with pytest.raises(InvalidInput, match="on_out_of_memory"):
            await house.create(on_out_of_memory="pray")


async def test_a_render_that_loses_three_workers_has_failed(open_house):
    async with open_house(ScriptedWorkers(free=False)) as house:
        render = await house.create()
        for attempt in (1, 2, 3):
            await house.workers.let_through(1)
            now = await house.until(
                render, lambda now, attempt=attempt: now.attempt == attempt and now.phase is Phase.DENOISING
            )
            await house.workers.kill(now.runtime_id)
        ended = await house.finished(render)
        assert ended.status is RenderStatus.FAILED
        assert ended.error is not None
        assert ended.error.reason == "WORKER_LOST"


async def test_a_failing_engine_fails_the_render_with_its_reason(open_house):
    workers = ScriptedWorkers()
    workers.render_failure = Failure("OUT_OF_MEMORY", "too large", retry=True)
    async with open_house(workers) as house:
        ended = await house.finished(await house.create())
        assert ended.error == workers.render_failure
        assert (await house.log(ended))[-1].error == workers.render_failure


async def test_a_failing_start_fails_the_render_and_shows_in_the_status(open_house):
    workers = ScriptedWorkers(load_failure=Failure("WEIGHTS_UNAVAILABLE", "no weights", retry=False))
    async with open_house(workers) as house:
        ended = await house.finished(await house.create())
        assert ended.error is not None
        assert ended.error.reason == "WEIGHTS_UNAVAILABLE"
        _, runtimes = await house.assembly.view.family("alpha", "")
        assert [runtime.status for runtime, _ in runtimes] == ["failed"]
        assert sum(view.free_slots for view in await house.assembly.view.capacity()) == 2
        with pytest.raises(RuntimeStartFailed, match="no weights"):
            await house.assembly.view.start("alpha", "", Pin(), keep_warm=False)


async def test_the_second_start_finds_it_warm(open_house):
    async with open_house() as house:
        first, cold = await house.assembly.view.start("alpha", "", Pin(), keep_warm=True)
        second, cold_again = await house.assembly.view.start("alpha", "v1", Pin(), keep_warm=False)
        assert (cold, cold_again) == (True, False)
        assert second.id == first.id
        assert second.keep_warm
        assert second.startup_ms is not None


async def test_stopping_frees_the_slot_unless_it_renders(open_house):
    async with open_house(ScriptedWorkers(free=False)) as house:
        render = await house.create()
        await house.until(render, lambda now: now.status is RenderStatus.RUNNING)
        with pytest.raises(RuntimeBusy):
            await house.assembly.view.stop("alpha", "", Pin())
        await house.workers.let_through(100)
        await house.finished(render)
        async with asyncio.timeout(5):
            while any(runtime.is_busy for runtime in house.assembly.runtimes.all()):
                await asyncio.sleep(0)
        assert (await house.assembly.view.stop("alpha", "", Pin()))[1] == 1
        assert house.workers.workers == {}


async def test_an_idle_runtime_frees_its_slot_after_its_time(open_house):
    async with open_house(idle_release_seconds=0.01) as house:
        await house.finished(await house.create())
        async with asyncio.timeout(5):
            while house.workers.workers:
                await asyncio.sleep(0.01)


async def test_a_render_that_waited_too_long_expires_and_never_starts(open_house):
    async with open_house(ScriptedWorkers(free=False), queue_ttl=timedelta(milliseconds=1)) as house:
        for gpu_type in ("H200", "L40S"):
            await house.assembly.view.start("beta", "", Pin(gpu_type), keep_warm=True)
        ended = await house.finished(await house.create())
        assert ended.status is RenderStatus.EXPIRED
        assert ended.attempt == 0


async def test_waiting_answers_with_the_render_as_it_stands_when_the_time_is_over(open_house):
    async with open_house(ScriptedWorkers(free=False)) as house:
        infer = house.assembly.scheduler.infer
        body = {"prompt": "a cat"}
        render = await infer(
            "ann", body, path_slug="alpha", idempotency_key=None, wait_seconds=0, cancel_on_disconnect=False
        )
        assert not render.is_final
        with pytest.raises(InvalidInput, match="wait_seconds"):
            await infer(
                "ann", body, path_slug="alpha", idempotency_key=None, wait_seconds=9999, cancel_on_disconnect=False
            )


@pytest.mark.parametrize(("cancel_on_disconnect", "status"), [(False, "succeeded"), (True, "canceled")])
async def test_a_client_that_goes_away_stops_its_render_only_if_it_said_so(open_house, cancel_on_disconnect, status):
    async with open_house(ScriptedWorkers(free=False)) as house:
        call = asyncio.create_task(
            house.assembly.scheduler.infer(
                "ann",
                {"prompt": "a cat"},
                path_slug="alpha",
                idempotency_key=None,
                wait_seconds=None,
                cancel_on_disconnect=cancel_on_disconnect,
            )
        )
        async with asyncio.timeout(5):
            while not (
                page := await house.assembly.scheduler.page("ann", status="", slug="", page_size=0, page_token="")
            ).renders:
                await asyncio.sleep(0)
        render = await house.until(page.renders[0], lambda now: now.status is RenderStatus.RUNNING)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await house.workers.let_through(100)
        assert (await house.finished(render)).status == status


async def test_a_restart_releases_running_renders_and_they_run_again(open_house):
    async with open_house(ScriptedWorkers(free=False)) as house:
        render = await house.create()
        await house.workers.let_through(2)
        await house.until(render, lambda now: now.progress.done_steps == 1)
    async with open_house() as house:
        ended = await house.finished(render)
        assert (ended.status, ended.attempt, ended.losses) == (RenderStatus.SUCCEEDED, 2, 0)


async def test_unexpected_trouble_fails_the_render_with_words_for_strangers(open_house):
    class Broken(ScriptedWorkers):
        def _next(self, worker, assignment):
            raise ZeroDivisionError("secret detail")

    async with open_house(Broken()) as house:
        ended = await house.finished(await house.create())
        assert ended.error == Failure("INTERNAL", "internal error")


async def test_renders_are_listed_newest_first_in_pages(open_house):
    async with open_house() as house:
        made = [await house.finished(await house.create()) for _ in range(3)]
        page = house.assembly.scheduler.page
        first = await page("ann", status="succeeded", slug="alpha", page_size=2, page_token="")
        rest = await page("ann", status="", slug="", page_size=2, page_token=first.next_before)
        assert [r.id for r in (*first.renders, *rest.renders)] == [r.id for r in reversed(made)]
        assert rest.next_before is None
        with pytest.raises(InvalidInput) as refused:
            await page("ann", status="dancing", slug="", page_size=1000, page_token="x")
        assert [v.field for v in refused.value.violations] == ["status", "page_size", "page_token"]


async def test_an_unknown_model_is_refused_before_anything_is_stored(open_house):
    async with open_house() as house:
        with pytest.raises(ForgeError, match="no such model"):
            await house.create(model="gamma")
        page = await house.assembly.scheduler.page("ann", status="", slug="", page_size=0, page_token="")
        assert page.renders == []


async def test_a_start_that_may_succeed_later_is_tried_again_and_fails_with_its_own_reason(open_house):
    workers = ScriptedWorkers()
    workers.launch_error = RuntimeStartFailed("no process could be made", retry=True)
    async with open_house(workers) as house:
        ended = await house.finished(await house.create())
        assert (ended.status, ended.attempt) == (RenderStatus.FAILED, 3)
        assert ended.error == Failure(
            "RUNTIME_START_FAILED", "the runtime could not be started: no process could be made", retry=True
        )


async def test_a_worker_that_was_told_to_end_costs_an_attempt_not_the_render(open_house):
    workers = ScriptedWorkers(free=False)
    workers.render_failure = Failure("WORKER_LOST", "this worker is shutting down", retry=True)
    async with open_house(workers) as house:
        render = await house.create()
        await workers.let_through(5)
        await house.until(render, lambda now: now.attempt == 2)
        workers.render_failure = None
        await workers.let_through(100)
        ended = await house.finished(render)
        assert (ended.status, ended.losses) == (RenderStatus.SUCCEEDED, 1)


async def test_a_video_that_is_no_longer_stored_is_not_found(open_house):
    class NoVideos:
        async def open(self, key):
            return None

    async with open_house(videos=NoVideos()) as house:
        render = await house.finished(await house.create())
        with pytest.raises(VideoNotReady, match="no longer stored"):
            await house.assembly.scheduler.video("ann", render.id)


async def test_when_placing_fails_the_scheduler_says_so_and_ends_with_the_reason(open_house):
    class BrokenEstimates:
        async def request_cost_usd(self, slug, model_version):
            raise OSError("disk full")

    async def live_until_it_fails():
        failed = asyncio.Event()
        async with open_house(estimates=BrokenEstimates(), on_failure=failed.set) as house:
            await house.create()
            async with asyncio.timeout(5):
                await failed.wait()

    with pytest.raises(OSError, match="disk full"):
        await live_until_it_fails()
