"""Deleting renders: what goes, what stays, and what happens to those that go on from it."""

import pytest
from sqlalchemy.exc import NoResultFound

from services.chassis.errors import ServiceUnavailable
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.errors import RenderNotEnded, RenderNotFound
from services.scheduler.domain.render import RenderStatus
from services.scheduler.usecases import scheduler as scheduler_module
from tests.unit.scheduler.house_bench import at_step, is_paused


class NotedVideos:
    """Videos of which only is known what was removed; the store may refuse."""

    def __init__(self):
        self.removed = []
        self.refuses = False

    async def open(self, key, *, offset=0, length=None):
        return None

    async def remove_all(self, folder, *, but=()):
        if self.refuses:
            raise ServiceUnavailable("the object store")
        self.removed.append((folder, set(but) - {""}))


@pytest.fixture
def videos():
    return NotedVideos()


@pytest.fixture
def open_shelf(open_house, videos):
    return lambda workers=None: open_house(workers or ScriptedWorkers(), videos=videos)


async def listed(house, **asked):
    asked = {"status": "", "slug": "", "page_size": 0, "page_token": ""} | asked
    return [render.id for render in (await house.assembly.scheduler.page("ann", **asked)).renders]


async def test_a_deleted_render_is_found_nowhere_and_its_files_are_gone(open_shelf, videos):
    async with open_shelf() as house:
        kept, render = [await house.finished(await house.create()) for _ in range(2)]
        scheduler = house.assembly.scheduler
        await scheduler.delete("ann", render.id)
        for look in (scheduler.get, scheduler.video, scheduler.thumbnail, scheduler.cancel, scheduler.retry):
            with pytest.raises(RenderNotFound):
                await look("ann", render.id)
        with pytest.raises(RenderNotFound):
            await scheduler.delete("ann", render.id)
        assert await listed(house) == await listed(house, status="succeeded") == [kept.id]
        assert videos.removed == [(f"renders/{render.id}", set())]


async def test_its_prompt_and_pictures_are_gone_and_those_of_others_are_not(open_shelf):
    async with open_shelf() as house:
        kept, render = [await house.finished(await house.create()) for _ in range(2)]
        await house.assembly.scheduler.delete("ann", render.id)
        assert (await house.store.inputs(kept.id))["prompt"]
        with pytest.raises(NoResultFound):
            await house.store.inputs(render.id)


async def test_what_it_took_stays_on_record(open_shelf):
    async with open_shelf() as house:
        render = await house.finished(await house.create())
        await house.assembly.scheduler.delete("ann", render.id)
        stored = await house.store.get("ann", render.id)
        assert stored.attempts == render.attempts
        assert [ended.id for ended in await house.store.ended_since(render.created_at)] == [render.id]


async def test_its_idempotency_key_is_free_again(open_shelf):
    async with open_shelf() as house:
        render = await house.finished(await house.create(idempotency_key="k"))
        await house.assembly.scheduler.delete("ann", render.id)
        again = await house.create(idempotency_key="k", prompt="another")
        assert again.id != render.id


async def test_another_accounts_render_cannot_be_deleted(open_shelf, videos):
    async with open_shelf() as house:
        render = await house.finished(await house.create())
        with pytest.raises(RenderNotFound):
            await house.assembly.scheduler.delete("bob", render.id)
    assert videos.removed == []


async def test_a_render_that_runs_is_canceled_and_then_deleted(open_shelf, videos):
    async with open_shelf(ScriptedWorkers(free=False)) as house:
        render = await house.create()
        await house.workers.let_through(2)
        await house.until(render, at_step(1))
        await house.assembly.scheduler.delete("ann", render.id)
        assert (await house.store.get("ann", render.id)).status is RenderStatus.CANCELED
        assert await listed(house) == []
    assert videos.removed == [(f"renders/{render.id}", set())]


async def test_a_render_that_takes_long_to_stop_is_there_until_it_has(open_shelf, videos, monkeypatch):
    monkeypatch.setattr(scheduler_module, "CANCEL_SECONDS", 0.0)
    async with open_shelf(ScriptedWorkers(free=False)) as house:
        render = await house.create()
        await house.workers.let_through(2)
        running = await house.until(render, at_step(1))
        house.workers.workers[running.runtime_id].ignores_cancel = True
        with pytest.raises(RenderNotEnded):
            await house.assembly.scheduler.delete("ann", render.id)
        assert videos.removed == []
        await house.workers.let_through(100)
        await house.finished(render)
        await house.assembly.scheduler.delete("ann", render.id)
        assert await listed(house) == []


async def test_a_render_whose_files_cannot_be_removed_is_found_until_they_are(open_shelf, videos):
    async with open_shelf() as house:
        render = await house.finished(await house.create())
        videos.refuses = True
        with pytest.raises(ServiceUnavailable):
            await house.assembly.scheduler.delete("ann", render.id)
        assert await listed(house) == [render.id]
        videos.refuses = False
        await house.assembly.scheduler.delete("ann", render.id)
        assert await listed(house) == []


async def test_a_checkpoint_that_a_branch_is_to_go_on_from_stays(open_shelf, videos):
    async with open_shelf(ScriptedWorkers(free=False)) as house:
        paused = await house.create(pause_after_step=2)
        await house.workers.let_through(3)  # not a moment more, which would be the branch's
        paused = await house.until(paused, is_paused)
        branch = await house.assembly.scheduler.branch("ann", paused.id, {"prompt": "b"}, idempotency_key=None)
        await house.assembly.scheduler.delete("ann", paused.id)
        assert branch.branch_of == paused.id
    assert videos.removed == [(f"renders/{paused.id}", {paused.checkpoint_key})]


async def test_renders_are_listed_in_either_order(open_shelf):
    async with open_shelf() as house:
        ids = [(await house.create()).id for _ in range(3)]
        assert await listed(house) == ids[::-1]
        page = await house.assembly.scheduler.page(
            "ann", status="", slug="", page_size=2, page_token="", oldest_first=True
        )
        assert ([render.id for render in page.renders], page.next_beyond) == (ids[:2], ids[1])
        assert await listed(house, page_token=page.next_beyond, oldest_first=True) == ids[2:]
