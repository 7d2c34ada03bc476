"""Checkpoints stay while somebody may go on from them, and no longer."""

import asyncio

import obstore
import pytest
from obstore.store import LocalStore, MemoryStore

from services.scheduler.adapters import obstore_checkpoints
from services.scheduler.adapters.obstore_checkpoints import ObstoreCheckpoints
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.domain.facts import Failure
from tests.unit.scheduler.house_bench import NotedRemovals, at_step, is_paused


@pytest.fixture
def removed():
    return NotedRemovals()


def slow():
    return ScriptedWorkers(step_seconds=10.0, total_steps=6)


def of_attempt(render, number):
    return f"renders/{render.id}/{number}/video.mp4.safetensors"


async def test_a_checkpoint_is_there_until_the_video_is_published(open_clockwork, removed):
    async with open_clockwork(slow(), checkpoints=removed) as house:
        render = await house.create()
        await house.until(render, at_step(5))
        house.disk.is_away = True
        await house.clock.sleep(60.0)  # the worker has told of its video, and nobody can write that down
        assert not removed.keys
        house.disk.is_away = False
        await house.finished(render)
        await house.settle()
        assert removed.keys == [of_attempt(render, 1)]


async def test_one_whose_place_another_took_goes_with_the_attempt_that_took_it(open_clockwork, removed):
    async with open_clockwork(slow(), checkpoints=removed) as house:
        render = await house.create()
        for attempt in (1, 2):
            running = await house.until(render, at_step(attempt + 1, attempt))
            await house.workers.kill(running.runtime_id)
        await house.until(render, at_step(4, 3))
        assert removed.keys == [of_attempt(render, 1)]
        await house.finished(render)
        await house.settle()
        assert removed.keys == [of_attempt(render, number) for number in (1, 2, 3)]


async def test_what_a_retry_goes_on_from_stays(open_clockwork, removed):
    async with open_clockwork(slow(), checkpoints=removed) as house:
        render = await house.create()
        running = await house.until(render, at_step(2))
        worker = house.workers.workers[running.runtime_id]
        worker.failure = Failure("BAD_LUCK", "it happens", retry=True)
        failed = await house.finished(render)
        await house.settle()
        assert failed.checkpoint_key
        assert not removed.keys
        worker.failure = None
        retried = await house.finished(await house.assembly.scheduler.retry("ann", render.id))
        await house.settle()
        assert removed.keys == [of_attempt(retried, 1)], "the other is the failed render's, not this one's"


async def test_what_a_branch_may_begin_with_stays(open_clockwork, removed):
    async with open_clockwork(slow(), checkpoints=removed) as house:
        paused = await house.until(await house.create(pause_after_step=2), is_paused)
        branch = await house.assembly.scheduler.branch("ann", paused.id, {"prompt": "a dog"}, idempotency_key=None)
        await house.assembly.scheduler.resume("ann", paused.id, pause_after_step=0)
        ended = await house.finished(paused)
        await house.finished(branch)
        await house.settle()
        assert [record.resumed_steps for record in ended.attempts] == [0, 2]
        assert sorted(removed.keys) == sorted([of_attempt(paused, 2), of_attempt(branch, 1)])


async def test_who_lost_its_epoch_removes_nothing(open_clockwork, removed):
    async with open_clockwork(slow(), checkpoints=removed) as house:
        render = await house.create()
        await house.until(render, at_step(2))
        await house.store.advance(render.id, lambda now: now.released(house.clock.now(), "taken away"), "moved on")
        await house.clock.sleep(15.0)
        assert not removed.keys


async def test_a_removed_checkpoint_is_gone_and_can_be_removed_again(objects):
    await obstore.put_async(objects, "renders/r1/1/checkpoint", b"x")
    for _ in range(2):
        await ObstoreCheckpoints(objects).remove("renders/r1/1/checkpoint")
        assert obstore.list(objects).collect() == []


@pytest.mark.parametrize("key", ["", "../outside.mp4"])
async def test_nothing_outside_the_store_is_removed(key, tmp_path):
    (tmp_path / "outside.mp4").touch()
    await ObstoreCheckpoints(LocalStore(tmp_path / "objects", mkdir=True)).remove(key)
    assert (tmp_path / "outside.mp4").exists()


async def test_a_store_that_does_not_answer_keeps_nobody(monkeypatch):
    async def never(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(obstore_checkpoints, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(obstore_checkpoints.obstore, "delete_async", never)
    await ObstoreCheckpoints(MemoryStore()).remove("renders/r1/1/checkpoint")
