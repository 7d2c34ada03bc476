"""Waiting for a render: until it has ended or is paused, or the time is over."""

import asyncio
from dataclasses import replace

import pytest

from services.scheduler.domain.render import RenderStatus


@pytest.mark.parametrize("status", [RenderStatus.EXPIRED, RenderStatus.PAUSED])
async def test_waiting_ends_when_the_render_has_ended_or_is_paused(stage, status):
    await stage.run()
    waiting = asyncio.create_task(stage.watching.until_settled(stage.render, 600))
    await stage.settle()
    stage.store.asked.clear()
    await stage.step(5)
    assert not waiting.done()
    assert stage.store.asked.total() == 0, "steps are no reason to look"
    await stage.change(lambda render: replace(render, status=status))
    async with asyncio.timeout(1):
        assert (await waiting).status is status
    assert stage.store.asked.total() == 1


async def test_waiting_for_a_settled_render_answers_at_once(stage):
    before = stage.render
    await stage.end()
    began = stage.clock.monotonic()
    assert (await stage.watching.until_settled(before, 600)).status is RenderStatus.EXPIRED
    assert stage.clock.monotonic() - began < 1


@pytest.mark.parametrize("seconds", [0, 40])
async def test_waiting_ends_after_the_given_seconds_with_the_render_as_it_is(stage, seconds):
    await stage.run()
    began = stage.clock.monotonic()
    found = await stage.watching.until_settled(replace(stage.render, status=RenderStatus.QUEUED), seconds)
    assert found.status is RenderStatus.RUNNING
    assert stage.clock.monotonic() - began == pytest.approx(seconds, abs=0.5)


async def test_an_end_nobody_told_of_is_found_while_waiting(stage):
    await stage.run()
    waiting = asyncio.create_task(stage.watching.until_settled(stage.render, 600))
    await stage.settle()
    await stage.store_change(stage.ended)
    async with asyncio.timeout(16):
        assert (await waiting).status is RenderStatus.FAILED
