"""Videos that are shown while they are made, and previews."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from services.chassis.errors import InvalidInput
from services.scheduler.adapters.bell import LocalBell
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.errors import PreviewNotReady, RenderNotFound, VideoCutOff, VideoNotReady
from services.scheduler.domain.facts import Output
from services.scheduler.domain.render import RenderStatus, snapshot
from services.scheduler.usecases.screening import Screening


class KeysAsVideos:
    """Every object holds its own key, in two parts."""

    def __init__(self):
        self.missing = set()

        self.parts = []
        """The (offset, length) that were asked for."""

    async def open(self, key, *, offset=0, length=None):
        self.parts.append((offset, length))
        return None if key in self.missing else self._parts(key)

    async def _parts(self, key):
        yield key[:3].encode()
        yield key[3:].encode()


@pytest.fixture
def workers():
    workers = ScriptedWorkers(free=False)
    workers.makes_pieces = True
    return workers


@pytest.fixture
def open_cinema(open_house, workers):
    return lambda videos=None: open_house(workers, videos=videos or KeysAsVideos())


async def begun(house, pieces):
    """A render with so many pieces."""
    render = await house.create()
    await house.workers.let_through(1 + pieces)
    return await house.until(render, lambda now: now.worker_seq == 1 + pieces)


async def collected(video):
    return b"".join([part async for part in video.bytes]).decode()


def pieces_of(render, count):
    return "".join(f"renders/{render.id}/1/pieces/{number:05}.mp4" for number in range(1, count + 1))


async def test_the_video_of_a_running_render_begins_with_what_is_there_and_grows_to_its_end(open_cinema):
    async with open_cinema() as house:
        render = await begun(house, pieces=1)
        video = await house.assembly.scheduler.video("ann", render.id)
        assert video.sha256 is None
        async with asyncio.timeout(5):
            assert await anext(video.bytes) + await anext(video.bytes) == pieces_of(render, 1).encode()
            await house.workers.let_through(1)
            second = await anext(video.bytes) + await anext(video.bytes)
            assert pieces_of(render, 1) + second.decode() == pieces_of(render, 2)
            rest = asyncio.create_task(collected(video))
            await house.workers.let_through(100)
            assert pieces_of(render, 2) + await rest == pieces_of(render, 3)


async def test_progress_says_how_much_can_be_played(open_cinema):
    async with open_cinema() as house:
        render = await begun(house, pieces=1)
        assert render.progress.playable_seconds == pytest.approx(25 / 7 / 3)
        assert render.timing.first_frames_ms is not None
        await house.workers.let_through(100)
        ended = await house.finished(render)
        assert ended.progress.playable_seconds == pytest.approx(25 / 7)
        assert ended.timing.first_frames_ms == render.timing.first_frames_ms


async def test_before_the_first_piece_there_is_no_video(open_cinema):
    async with open_cinema() as house:
        render = await begun(house, pieces=0)
        with pytest.raises(VideoNotReady, match="no finished frames yet"):
            await house.assembly.scheduler.video("ann", render.id)


async def test_after_the_end_the_finished_file_is_shown(open_cinema):
    async with open_cinema() as house:
        render = await begun(house, pieces=1)
        await house.workers.let_through(100)
        await house.finished(render)
        video = await house.assembly.scheduler.video("ann", render.id)
        assert await collected(video) == f"renders/{render.id}/1/video.mp4"


async def test_a_canceled_render_cuts_off_its_growing_video(open_cinema):
    async with open_cinema() as house:
        render = await begun(house, pieces=1)
        video = await house.assembly.scheduler.video("ann", render.id)
        await house.assembly.scheduler.cancel("ann", render.id)
        with pytest.raises(VideoCutOff):
            await collected(video)


async def test_an_attempt_that_begins_again_cuts_off_the_video_of_the_one_before(open_cinema):
    async with open_cinema() as house:
        render = await begun(house, pieces=2)
        video = await house.assembly.scheduler.video("ann", render.id)
        await anext(video.bytes)
        await house.workers.kill(next(iter(house.workers.workers)))
        with pytest.raises(VideoCutOff):
            await collected(video)
        await house.workers.let_through(100)
        assert (await house.finished(render)).status is RenderStatus.SUCCEEDED


async def test_a_render_that_pauses_cuts_off_its_growing_video(open_cinema):
    async with open_cinema() as house:
        render = await house.create(pause_after_step=2)
        await house.workers.let_through(2)
        await house.until(render, lambda now: now.pieces == 1)
        video = await house.assembly.scheduler.video("ann", render.id)
        await house.workers.let_through(1)
        async with asyncio.timeout(5):
            with pytest.raises(VideoCutOff):
                await collected(video)


class CountedLooks:
    """A store that counts how often it is asked how a render stands."""

    def __init__(self, store):
        self._store = store
        self.looks = 0

    async def get(self, account, render_id):
        self.looks += 1
        return await self._store.get(account, render_id)


async def test_only_events_that_make_a_video_grow_are_a_reason_to_look(open_cinema):
    async with open_cinema() as house:
        render = await begun(house, pieces=1)
        bell, store = LocalBell(), CountedLooks(house.store)
        screening: Any = Screening
        video = await screening(store=store, videos=KeysAsVideos(), bell=bell, clock=house.clock).video(render)
        beginning = await anext(video.bytes)
        (*_, newest) = await house.log(render)
        for event in [newest] * 10 + [replace(newest, attempt=2)]:
            bell.ring(render.id, event)
        rest = asyncio.create_task(collected(video))
        await house.workers.let_through(100)
        ended = await house.finished(render)
        bell.ring(render.id, snapshot(ended, ended.created_at, ""))
        async with asyncio.timeout(5):
            assert beginning.decode() + await rest == pieces_of(render, 3)
        assert store.looks == 2, "at the other attempt and at the end"


async def test_a_piece_that_is_not_there_cuts_off_the_video(open_cinema):
    videos = KeysAsVideos()
    async with open_cinema(videos) as house:
        render = await begun(house, pieces=2)
        videos.missing.add(f"renders/{render.id}/1/pieces/00002.mp4")
        video = await house.assembly.scheduler.video("ann", render.id)
        with pytest.raises(VideoCutOff):
            await collected(video)


async def test_leaving_a_growing_video_leaves_the_render_alone(open_cinema):
    async with open_cinema() as house:
        render = await begun(house, pieces=1)
        video = await house.assembly.scheduler.video("ann", render.id)
        async with aclosing(video.bytes):
            await anext(video.bytes)
        await house.workers.let_through(100)
        assert (await house.finished(render)).status is RenderStatus.SUCCEEDED


async def test_every_preview_can_be_had_by_the_event_that_told_of_it_first(open_cinema):
    async with open_cinema() as house:
        render = await begun(house, pieces=1)
        await house.workers.let_through(100)
        ended = await house.finished(render)
        told = {event.preview_seq: event.preview_key for event in await house.log(render) if event.preview_key}
        assert len(told) == 3
        for number, key in told.items():
            assert (await house.assembly.scheduler.preview("ann", render.id, number)).decode() == key
        newest = await house.assembly.scheduler.preview("ann", render.id, 0)
        assert newest.decode() == ended.preview_key == told[max(told)]


async def test_a_preview_that_no_event_told_of_is_not_there(open_cinema):
    async with open_cinema() as house:
        render = await begun(house, pieces=0)
        for number in (0, 1, 999):
            with pytest.raises(PreviewNotReady):
                await house.assembly.scheduler.preview("ann", render.id, number)
        with pytest.raises(InvalidInput, match="number"):
            await house.assembly.scheduler.preview("ann", render.id, -1)


async def test_another_accounts_preview_does_not_exist(open_cinema):
    async with open_cinema() as house:
        render = await begun(house, pieces=1)
        with pytest.raises(RenderNotFound):
            await house.assembly.scheduler.preview("bob", render.id, 0)


@pytest.mark.parametrize(
    ("asked", "part"), [((0, 0), (0, 5)), ((0, 1), (0, 1)), ((2, 2), (2, 2)), ((4, 0), (4, 1)), ((1, 99), (1, 4))]
)
async def test_any_part_of_a_finished_video_can_be_had(open_cinema, asked, part):
    videos, (offset, length) = KeysAsVideos(), asked
    async with open_cinema(videos) as house:
        render = await begun(house, pieces=1)
        await house.workers.let_through(100)
        ended = await house.finished(render)
        assert ended.output.size_bytes == 5
        video = await house.assembly.scheduler.video("ann", render.id, offset=offset, length=length)
        await video.bytes.aclose()
    assert videos.parts[-1] == part


@pytest.mark.parametrize(
    ("offset", "length", "wrong"),
    [(5, 0, {"offset"}), (-1, 0, {"offset"}), (0, -1, {"length"}), (9, -9, {"offset", "length"})],
)
async def test_a_part_that_a_video_does_not_have_is_refused(open_cinema, offset, length, wrong):
    async with open_cinema() as house:
        render = await begun(house, pieces=1)
        await house.workers.let_through(100)
        await house.finished(render)
        with pytest.raises(InvalidInput) as refused:
            await house.assembly.scheduler.video("ann", render.id, offset=offset, length=length)
    assert {violation.field for violation in refused.value.violations} == wrong


async def test_of_a_video_that_still_grows_there_are_no_parts(open_cinema):
    async with open_cinema() as house:
        render = await begun(house, pieces=1)
        with pytest.raises(InvalidInput) as refused:
            await house.assembly.scheduler.video("ann", render.id, offset=1, length=2)
    assert [violation.field for violation in refused.value.violations] == ["offset", "length"]


async def test_a_finished_video_has_the_picture_that_lies_beside_it_or_else_its_newest_preview(open_cinema):
    videos = KeysAsVideos()
    async with open_cinema(videos) as house:
        scheduler = house.assembly.scheduler
        render = await begun(house, pieces=1)
        with pytest.raises(PreviewNotReady):
            await scheduler.thumbnail("ann", render.id)
        await house.workers.let_through(100)
        ended = await house.finished(render)
        beside = f"renders/{render.id}/1/thumbnail.webp"
        assert (await scheduler.thumbnail("ann", render.id)).decode() == beside
        videos.missing.add(beside)
        assert (await scheduler.thumbnail("ann", render.id)).decode() == ended.preview_key
        videos.missing.add(ended.preview_key)
        with pytest.raises(PreviewNotReady):
            await scheduler.thumbnail("ann", render.id)


def test_the_picture_lies_in_the_folder_of_the_video():
    output = Output("renders/r/3/video.mp4", "video/mp4", 1, "", 64, 64, 5, 24.0)
    assert output.thumbnail_key == "renders/r/3/thumbnail.webp"
