"""Addresses of finished videos in the object store: for whom, for how long, and what else is told."""

from datetime import UTC, datetime, timedelta

import pytest

from services.chassis.errors import InvalidInput
from services.scheduler.domain.errors import RenderNotFound, VideoNotReady
from tests.unit.scheduler.house_bench import ScriptedWorkers


class Addresses:
    """An object store that notes what it was asked for."""

    def __init__(self):
        self.asked = []

    async def address(self, key, **given):
        self.asked.append((key, given))
        return f"https://objects.example/{key}"


async def test_the_address_of_a_finished_video_is_its_owners_for_a_quarter_of_an_hour_at_most(open_house):
    addresses = Addresses()
    async with open_house(addresses=addresses) as house:
        render = await house.finished(await house.create())
        before = datetime.now(UTC)
        found = await house.assembly.scheduler.video_address("ann", render.id)
        assert found.url == f"https://objects.example/{render.output.key}"
        assert timedelta(minutes=14) < found.expires_at - before < timedelta(minutes=16)
        key, given = addresses.asked.pop()
        assert (key, given["valid_for"]) == (render.output.key, timedelta(minutes=15))
        assert given["file_name"] == f"{render.slug}-{render.id}.mp4"
        await house.assembly.scheduler.video_address("ann", render.id, valid_seconds=60)
        assert addresses.asked.pop()[1]["valid_for"] == timedelta(minutes=1)
        for seconds in (-1, 901):
            with pytest.raises(InvalidInput, match="valid_seconds"):
                await house.assembly.scheduler.video_address("ann", render.id, valid_seconds=seconds)
        with pytest.raises(RenderNotFound):
            await house.assembly.scheduler.video_address("bob", render.id)
        assert addresses.asked == []


async def test_a_render_without_a_video_has_no_address(open_house):
    async with open_house(ScriptedWorkers(free=False), addresses=Addresses()) as house:
        render = await house.create()
        with pytest.raises(VideoNotReady):
            await house.assembly.scheduler.video_address("ann", render.id)
        await house.workers.let_through(100)


async def test_without_such_a_store_the_address_is_empty(open_house):
    async with open_house() as house:
        render = await house.finished(await house.create())
        assert (await house.assembly.scheduler.video_address("ann", render.id)).url == ""
