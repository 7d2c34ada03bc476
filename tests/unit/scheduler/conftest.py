"""Builders and a whole scheduler in memory, but for its real SQLite."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.chassis.clock import SystemClock
from services.chassis.errors import ForgeError, Kind
from services.chassis.storage import sqlite_database
from services.scheduler.__main__ import MIGRATIONS, Assembly, assembled
from services.scheduler.adapters.json_schema import JsonSchemaChecker
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.adapters.sql_store import SqlRenderStore, SqlRuntimeStore
from services.scheduler.domain.fleet import Fleet, Slot, Target
from services.scheduler.domain.inputs import Rule
from services.scheduler.domain.render import Render, RenderEvent
from services.scheduler.ports import Version

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": {"type": "string", "minLength": 1, "maxLength": 20, "title": "Prompt"},
        "width": {"type": "integer", "minimum": 64, "maximum": 1024, "multipleOf": 64, "default": 512},
        "num_frames": {"type": "integer", "minimum": 1, "maximum": 257, "default": 97},
        "causal_block_size": {"type": "integer", "minimum": 1},
        "guidance_scale": {"type": "number", "minimum": 0, "maximum": 20, "default": 6.0},
        "negative_prompt": {"type": "string", "x-forge-ignored": "this pipeline reads none"},
        "image": {"type": "string", "x-forge-media": "image"},
        "seed": {"type": "integer", "minimum": 0, "maximum": 4294967295},
    },
}
RULES = (
    Rule("four_k_plus_one", ("num_frames",), "must be one more than a multiple of 4"),
    Rule("fills_blocks", ("num_frames", "causal_block_size"), "must fill its blocks"),
)


class FixedCatalog:
    """A catalogue of two models with one schema."""

    async def version(self, slug: str, model_version: str | None) -> Version:
        if slug not in ("alpha", "beta"):
            raise ForgeError("no such model", kind=Kind.NOT_FOUND, reason="MODEL_NOT_FOUND")
        if model_version not in (None, "v1"):
            raise ForgeError("no such version", kind=Kind.NOT_FOUND, reason="VERSION_NOT_FOUND")
        return Version(slug, "v1", "P", "r", "x", "bf16", 24.0, SCHEMA, RULES, (), (("B300", "uk-south1"),))


class FixedEstimates:
    """The second target is the cheaper one."""

    async def request_cost_usd(self, slug: str, model_version: str) -> Mapping[tuple[str, str], tuple[float, float]]:
        return {("H200", "eu-north2"): (0.2, 0.3), ("L40S", "eu-north1"): (0.1, 0.4)}


class FixedVideos:
    """Every key holds the same five bytes."""

    async def open(self, key: str) -> AsyncGenerator[bytes, None] | None:
        return self._pieces()

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        yield b"vid"
        yield b"eo"


def two_slots() -> Fleet:
    targets = (Target("H200", "eu-north2", True), Target("L40S", "eu-north1", True))
    return Fleet("test", tuple(Slot(f"slot-{n}", target, "cpu") for n, target in enumerate(targets)))


@dataclass
class House:
    """A running scheduler and its hidden side."""

    assembly: Assembly
    store: SqlRenderStore
    workers: ScriptedWorkers

    async def create(self, account: str = "ann", **body: Any) -> Render:
        full = {"model": "alpha", "prompt": "a cat"} | body
        key = full.pop("idempotency_key", None)
        return await self.assembly.scheduler.create(account, full, path_slug=None, idempotency_key=key)

    async def until(self, render: Render, holds: Callable[[Render], bool]) -> Render:
        """Wait for a render to be as asked; five seconds are a failure."""
        async with asyncio.timeout(5):
            async for _ in await self.assembly.scheduler.watch(render.account, render.id, after_seq=0):
                now = await self.assembly.scheduler.get(render.account, render.id)
                if holds(now):
                    return now
        return await self.assembly.scheduler.get(render.account, render.id)

    async def finished(self, render: Render) -> Render:
        return await self.until(render, lambda now: now.is_final)

    async def log(self, render: Render) -> list[RenderEvent]:
        return list(await self.store.events(render.id, 0, 1000))


HouseMaker = Callable[..., Any]


@pytest.fixture
def open_house(tmp_path: Path) -> HouseMaker:
    """Opens a scheduler; opening another one on the same path is its restart."""

    @asynccontextmanager
    async def opening(
        workers: ScriptedWorkers | None = None,
        *,
        fleet: Fleet | None = None,
        idle_release_seconds: float = 900.0,
        **more: Any,
    ) -> AsyncIterator[House]:
        clock = SystemClock()
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(sqlite_database(tmp_path / "s.sqlite3", MIGRATIONS))
            store = SqlRenderStore(database, clock)
            workers = workers or ScriptedWorkers()
            parts: dict[str, Any] = {
                "fleet": fleet or two_slots(),
                "store": store,
                "runtime_store": SqlRuntimeStore(database),
                "placer": workers,
                "workers": workers,
                "catalog": FixedCatalog(),
                "estimates": FixedEstimates(),
                "videos": FixedVideos(),
                "checker": JsonSchemaChecker(),
                "clock": clock,
                "idle_release_seconds": idle_release_seconds,
            }
            assembly = await stack.enter_async_context(assembled(**parts | more))
            yield House(assembly, store, workers)

    return opening


@pytest.fixture
def a_render() -> Callable[..., Render]:
    """A render with the given differences from a queued one."""

    def build(**changes: Any) -> Render:
        return replace(Render(id="rnd_1", account="ann", slug="alpha", model_version="v1", created_at=NOON), **changes)

    return build
