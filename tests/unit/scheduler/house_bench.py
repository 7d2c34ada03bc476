"""A whole scheduler, but for its surroundings, which do as tests like."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from services.chassis.errors import ForgeError, Kind, ServiceUnavailable
from services.chassis.images import file_of
from services.chassis.storage import Database
from services.scheduler.adapters.json_schema import JsonSchemaChecker
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.adapters.sql_probes import SqlProbeStore
from services.scheduler.adapters.sql_runtimes import SqlRuntimeStore
from services.scheduler.adapters.sql_store import SqlRenderStore
from services.scheduler.assembly import Assembly
from services.scheduler.domain.fleet import Fleet, Slot, Target
from services.scheduler.domain.inputs import Rule
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import Render, RenderEvent, RenderStatus
from services.scheduler.domain.trace import RenderSpan, ToldSpans
from services.scheduler.ports import Clock, Estimate, Version

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": {
            "type": "string",
            "minLength": 1,
            "maxLength": 20,
            "title": "Prompt",
            "x-forge-branchable": True,
        },
        "width": {"type": "integer", "minimum": 64, "maximum": 1024, "multipleOf": 64, "default": 512},
        "num_frames": {"type": "integer", "minimum": 1, "maximum": 257, "default": 97},
        "causal_block_size": {"type": "integer", "minimum": 1},
        "guidance_scale": {
            "type": "number",
            "minimum": 0,
            "maximum": 20,
            "default": 6.0,
            "x-forge-branchable": True,
        },
        "negative_prompt": {"type": "string", "x-forge-ignored": "this pipeline reads none"},
        "image": {"type": "string", "x-forge-media": "image"},
        "seed": {"type": "integer", "minimum": 0, "maximum": 4294967295},
    },
}
RULES = (
    Rule("four_k_plus_one", ("num_frames",), "must be one more than a multiple of 4"),
    Rule("fills_blocks", ("num_frames", "causal_block_size"), "must fill its blocks"),
)
H200 = Target("H200", "eu-north2", True)
L40S = Target("L40S", "eu-north1", True)


class FixedCatalog:
    """A catalogue of two models with one schema."""

    def __init__(self, max_run_seconds: float = 3600.0) -> None:
        self.max_run_seconds = max_run_seconds
        self.answers = True

    async def version(self, slug: str, model_version: str | None) -> Version:
        if not self.answers:
            raise ForgeError("the catalogue does not answer", kind=Kind.UNAVAILABLE, reason="SERVICE_UNAVAILABLE")
        if slug not in ("alpha", "beta"):
            raise ForgeError("no such model", kind=Kind.NOT_FOUND, reason="MODEL_NOT_FOUND")
        if model_version not in (None, "v1"):
            raise ForgeError("no such version", kind=Kind.NOT_FOUND, reason="VERSION_NOT_FOUND")
        targets = (("B300", "uk-south1"),)
        return Version(slug, "v1", "P", "r", "x", "bf16", 24.0, SCHEMA, RULES, (), targets, self.max_run_seconds)


class TheirSpans:
    """A span store with what a test puts into it."""

    def __init__(self, *spans: RenderSpan, is_away: bool = False) -> None:
        self._told = ToldSpans(spans)
        self._is_away = is_away

    async def of_render(self, trace_id: str, render_id: str) -> ToldSpans:
        if self._is_away:
            raise ServiceUnavailable("traces")
        return self._told


class FixedEstimates:
    """The second target is the cheaper one."""

    def __init__(self, request_seconds: float | None = None, start_seconds: float | None = None) -> None:
        self._seconds: dict[str, Any] = {"request_seconds": request_seconds, "start_seconds": start_seconds}

    async def of(self, slug: str, model_version: str, shape: object = None) -> Mapping[tuple[str, str], Estimate]:
        return {
            ("H200", "eu-north2"): Estimate(warm_usd=0.2, cold_usd=0.3, usd_per_hour=4.5, **self._seconds),
            ("L40S", "eu-north1"): Estimate(warm_usd=0.1, cold_usd=0.4, usd_per_hour=1.8, **self._seconds),
        }


class FormOfImages:
    """Takes every image that is a file in a data URI."""

    async def resolved(self, value: str, account: str | None) -> str:
        file_of(value)
        return value


class FixedVideos:
    """Every key holds the same five bytes."""

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None] | None:
        return self._pieces()

    async def remove_all(self, folder: str, *, but: Collection[str] = ()) -> None:
        pass

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        yield b"vid"
        yield b"eo"


def at_step(step: int, attempt: int = 1) -> Callable[[Render], bool]:
    """Holds once an attempt has done so many steps."""
    return lambda now: now.attempt == attempt and now.progress.done_steps >= step


def is_paused(render: Render) -> bool:
    return render.status is RenderStatus.PAUSED


class NotedRemovals:
    """Checkpoints of which only is known that they were removed."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def remove(self, key: str) -> None:
        self.keys.append(key)


def slots(*targets: Target) -> Fleet:
    """A fleet of one slot for each."""
    return Fleet("test", tuple(Slot(f"slot-{n}", target, "cpu") for n, target in enumerate(targets)))


def two_slots() -> Fleet:
    return slots(H200, L40S)


def parts_of(
    database: Database,
    clock: Clock,
    workers: Any,
    *,
    fleet: Fleet | None = None,
    policy: Policy | None = None,
    **more: Any,
) -> dict[str, Any]:
    """What a scheduler is assembled of, unless a test brings its own."""
    return {
        "fleet": fleet or two_slots(),
        "store": SqlRenderStore(database, clock),
        "runtime_store": SqlRuntimeStore(database),
        "placer": workers,
        "workers": workers,
        "catalog": FixedCatalog(),
        "estimates": FixedEstimates(),
        "videos": FixedVideos(),
        "checkpoints": NotedRemovals(),
        "checker": JsonSchemaChecker(),
        "images": FormOfImages(),
        "spans": TheirSpans(),
        "clock": clock,
        "policy": policy or Policy(),
        "probe_store": SqlProbeStore(database),
        **more,
    }


HouseMaker = Callable[..., Any]


@dataclass
class House:
    """A running scheduler and its hidden side."""

    assembly: Assembly
    store: SqlRenderStore
    workers: ScriptedWorkers
    clock: Any
    patience_seconds: float = 5.0

    async def create(self, account: str = "ann", **body: Any) -> Render:
        full = {"model": "alpha", "prompt": "a cat"} | body
        key = full.pop("idempotency_key", None)
        return await self.assembly.scheduler.create(account, full, path_slug=None, idempotency_key=key)

    async def get(self, render: Render) -> Render:
        return await self.assembly.scheduler.get(render.account, render.id)

    async def cancel(self, render: Render) -> Render:
        return await self.assembly.scheduler.cancel(render.account, render.id)

    async def until(self, render: Render, holds: Callable[[Render], Any]) -> Render:
        """Wait for a render to be as asked; to lose patience is a failure."""
        async with asyncio.timeout(self.patience_seconds):
            async for _ in await self.assembly.scheduler.watch(render.account, render.id, after_seq=0):
                now = await self.get(render)
                if holds(now):
                    return now
        return await self.get(render)

    async def finished(self, render: Render) -> Render:
        return await self.until(render, lambda now: now.is_final)

    async def log(self, render: Render) -> list[RenderEvent]:
        return list(await self.store.events(render.id, 0, 1000))

    async def messages(self, render: Render) -> list[str]:
        """What the log says, without what is said again."""
        said = [event.message for event in await self.log(render)]
        return [now for before, now in zip(["", *said], said, strict=False) if now != before]
