"""A render's life as its client sees it, from being asked for to its end."""

import asyncio

import pytest

from services.chassis.errors import ForgeError, InvalidInput
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.errors import RenderNotFound, TargetNotOffered, UnknownTarget, VideoNotReady
from services.scheduler.domain.facts import Failure, PeakMemory, Phase
from services.scheduler.domain.render import RenderStatus


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


@pytest.mark.parametrize(("asked", "fails"), [({}, False), ({"on_out_of_memory": "fail"}, True)])
async def test_a_render_may_forbid_to_go_on_with_less_memory(open_house, asked, fails):
    async with open_house() as house:
        await house.finished(await house.create(**asked))
        assert [assignment.fail_when_out_of_memory for assignment in house.workers.rendered] == [fails]


async def test_a_failing_start_fails_the_render_and_shows_in_the_status(open_house):
    workers = ScriptedWorkers(load_failure=Failure("WEIGHTS_UNAVAILABLE", "no weights", retry=False))
    async with open_house(workers) as house:
        ended = await house.finished(await house.create())
        assert ended.error is not None
        assert ended.error.reason == "WEIGHTS_UNAVAILABLE"
        _, runtimes = await house.assembly.view.family("alpha", "")
        assert [view.runtime.status for view in runtimes] == ["failed"]
        async with asyncio.timeout(5):
            while sum(view.free_slots for view in await house.assembly.view.capacity()) < 2:
                await asyncio.sleep(0)


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


async def test_renders_are_listed_newest_first_in_pages(open_house):
    async with open_house() as house:
        made = [await house.finished(await house.create()) for _ in range(3)]
        page = house.assembly.scheduler.page
        first = await page("ann", status="succeeded", slug="alpha", page_size=2, page_token="")
        rest = await page("ann", status="", slug="", page_size=2, page_token=first.next_beyond)
        assert [r.id for r in (*first.renders, *rest.renders)] == [r.id for r in reversed(made)]
        assert rest.next_beyond is None
        with pytest.raises(InvalidInput) as refused:
            await page("ann", status="dancing", slug="", page_size=1000, page_token="x")
        assert [v.field for v in refused.value.violations] == ["status", "page_size", "page_token"]


async def test_an_unknown_model_is_refused_before_anything_is_stored(open_house):
    async with open_house() as house:
        with pytest.raises(ForgeError, match="no such model"):
            await house.create(model="gamma")
        page = await house.assembly.scheduler.page("ann", status="", slug="", page_size=0, page_token="")
        assert page.renders == []


async def test_a_video_that_is_no_longer_stored_is_not_found(open_house):
    class NoVideos:
        async def open(self, key, **part):
            return None

    async with open_house(videos=NoVideos()) as house:
        render = await house.finished(await house.create())
        with pytest.raises(VideoNotReady, match="no longer stored"):
            await house.assembly.scheduler.video("ann", render.id)


async def test_when_placing_fails_the_scheduler_says_so_and_ends_with_the_reason(open_house):
    class BrokenEstimates:
        async def of(self, slug, model_version, shape=None):
            raise OSError("disk full")

    async def live_until_it_fails():
        failed = asyncio.Event()
        async with open_house(estimates=BrokenEstimates(), on_failure=failed.set) as house:
            await house.create()
            async with asyncio.timeout(5):
                await failed.wait()

    with pytest.raises(OSError, match="disk full"):
        await live_until_it_fails()


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
