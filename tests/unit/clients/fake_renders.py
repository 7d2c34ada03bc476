"""A render service that a test tells what to answer, and either client of it."""

from __future__ import annotations  # grpc classes are generic in their stubs only

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from forge.scheduler.v1 import render_service_pb2_grpc
from forge.scheduler.v1.render_pb2 import Render, RenderEvent
from forge.scheduler.v1.render_service_pb2 import CreateRenderRequest, GetRenderRequest
from forge_client import AsyncForge, Forge
from grpc import aio
from grpc_status import rpc_status

from services.chassis.errors import ForgeError as Refusal
from services.chassis.errors import Kind
from services.chassis.status import to_status

AWAY = Refusal("it restarts", kind=Kind.UNAVAILABLE, reason="SERVICE_UNAVAILABLE", retry_after_seconds=2.0)


_Servicer: Any = render_service_pb2_grpc.RenderServiceServicer  # what a test does not tell is not implemented


@dataclass
class FakeRenders(_Servicer):
    """Refuses what it is told to, in turn, and then answers. Streams give `events` after the one that is asked for."""

    refusals: list[Refusal] = field(default_factory=list)
    events: list[RenderEvent] = field(default_factory=list)
    breaks_after: list[int] = field(default_factory=list)
    """Numbers of events after which the stream breaks, one for each time that somebody watches."""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def GetRender(self, request: Any, context: Any) -> Render:  # noqa: N802 — the contract's name
        return await self._answer("GetRender", request, context)

    async def CreateRender(self, request: Any, context: Any) -> Render:  # noqa: N802 — the contract's name
        return await self._answer("CreateRender", request, context)

    async def _answer(self, name: str, request: Any, context: Any) -> Render:
        self.asked.append((name, request))
        self.keys.append(dict(context.invocation_metadata()).get("authorization", ""))
        if self.refusals:
            await context.abort_with_status(rpc_status.to_status(to_status(self.refusals.pop(0))))
        return Render(id="rnd_1", status="succeeded")

    async def WatchRender(self, request: Any, context: Any) -> AsyncIterator[RenderEvent]:  # noqa: N802 — the contract's name
        self.asked.append(("WatchRender", request))
        last = self.breaks_after.pop(0) if self.breaks_after else None
        for event in self.events:
            if event.seq > request.after_seq:
                yield event
            if event.seq == last:
                await context.abort_with_status(rpc_status.to_status(to_status(AWAY)))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its address while the block runs."""
        server = aio.server()
        render_service_pb2_grpc.add_RenderServiceServicer_to_server(self, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await server.stop(0)


async def waiting(address: str, work: Callable[[Forge], Any]) -> Any:
    """What `work` gives with the client that waits."""

    def main() -> Any:
        with Forge(address, "a key") as forge:
            return work(forge)

    return await asyncio.to_thread(main)


async def get_waiting(address: str) -> Render:
    return await waiting(address, lambda forge: forge.ask(forge.renders.GetRender, GetRenderRequest(render_id="rnd_1")))


async def get_async(address: str) -> Render:
    async with AsyncForge(address, "a key") as forge:
        return await forge.ask(forge.renders.GetRender, GetRenderRequest(render_id="rnd_1"))


async def create_waiting(address: str) -> Render:
    return await waiting(address, lambda forge: forge.ask(forge.renders.CreateRender, CreateRenderRequest()))


async def create_async(address: str) -> Render:
    async with AsyncForge(address, "a key") as forge:
        return await forge.ask(forge.renders.CreateRender, CreateRenderRequest())


async def watch_waiting(address: str, **how: Any) -> list[int]:
    return await waiting(address, lambda forge: [event.seq for event in forge.watch("rnd_1", **how)])


async def watch_async(address: str, **how: Any) -> list[int]:
    async with AsyncForge(address, "a key") as forge:
        return [event.seq async for event in forge.watch("rnd_1", **how)]
