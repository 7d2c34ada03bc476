"""Builders, and a whole scheduler in memory, but for its real SQLite."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.chassis.clock import SystemClock
from services.scheduler.__main__ import MIGRATIONS
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.assembly import assembled
from services.scheduler.domain.render import Render
from tests.databases import OpenDatabase
from tests.simulation.virtual_time import VirtualLoop
from tests.unit.scheduler.clockwork_bench import ClockworkTown
from tests.unit.scheduler.house_bench import House, HouseMaker, parts_of
from tests.unit.scheduler.watching_bench import Stage, a_stage

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Any]:
    """Tests that open a clockwork run on virtual time."""
    fixtures: list[str] = getattr(item, "fixturenames", [])
    return {"virtual": VirtualLoop} if "open_clockwork" in fixtures else {"real": asyncio.new_event_loop}


@pytest.fixture
def open_house(tmp_path: Path, open_database_of_all: OpenDatabase) -> HouseMaker:
    """Opens a scheduler; opening another one on the same path is its restart."""

    @asynccontextmanager
    async def opening(workers: ScriptedWorkers | None = None, **more: Any) -> AsyncIterator[House]:
        clock = SystemClock()
        workers = workers or ScriptedWorkers()
        async with open_database_of_all(tmp_path / "s.sqlite3", MIGRATIONS) as database:
            parts = parts_of(database, clock, workers, **more)
            async with assembled(**parts) as assembly:
                yield House(assembly, parts["store"], workers, clock)

    return opening


@pytest.fixture
async def open_clockwork() -> AsyncIterator[HouseMaker]:
    """Opens a scheduler on virtual time; opening another one is its restart."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    with ClockworkTown(loop) as town:
        yield town.open


@pytest.fixture
def a_render() -> Callable[..., Render]:
    """A render with the given differences from a queued one."""

    def build(**changes: Any) -> Render:
        return replace(Render(id="rnd_1", account="ann", slug="alpha", model_version="v1", created_at=NOON), **changes)

    return build


@pytest.fixture
async def stage(open_clockwork: HouseMaker, a_render: Callable[..., Render]) -> Stage:
    """A queued render in the real store, on virtual time, to be watched."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return await a_stage(loop, a_render())
