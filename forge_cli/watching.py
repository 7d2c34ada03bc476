"""Following a render to its end over connections that may break."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import grpc
from forge.scheduler.v1.render_pb2 import RenderEvent
from forge.scheduler.v1.render_service_pb2 import WatchRenderRequest
from grpc import aio
from grpc_status import rpc_status

from forge_cli.client import Client
from forge_cli.statuses import RequestFailed, from_call, unreachable

FINAL_STATUSES = frozenset({"succeeded", "failed", "canceled", "expired"})
_SILENCE_SECONDS = 60.0  # the server gives a sign of life every 15 s
_PATIENCE_SECONDS = 120.0
_PAUSES_SECONDS = (0.1, 0.3, 1.0, 2.0)


async def follow(
    client: Client, render_id: str, *, after_seq: int = 0, patience_seconds: float = _PATIENCE_SECONDS
) -> AsyncGenerator[RenderEvent, None]:
    """Every event after `after_seq`, once and in order, up to the render's last one.

    A broken connection is taken up again after the last event seen, until it has been broken for `patience_seconds`.
    Signs of life are not passed on.
    """
    loop = asyncio.get_running_loop()
    last_heard, failures = loop.time(), 0
    while True:
        request = WatchRenderRequest(render_id=render_id, after_seq=after_seq)
        trouble: RequestFailed = unreachable(client.api_base, "the event stream ended early")
        try:
            events = client.stream(client.renders.WatchRender, request, silence_seconds=_SILENCE_SECONDS)
            async with aclosing(events):
                async for event in events:
                    last_heard, failures = loop.time(), 0
                    if event.keep_alive or event.seq <= after_seq:
                        continue
                    after_seq = event.seq
                    yield event
                    if event.status in FINAL_STATUSES:
                        return
        except aio.AioRpcError as error:
            trouble = from_call(error, client.api_base)
            if not is_passing(error):
                raise trouble from error
        except TimeoutError:
            trouble = unreachable(client.api_base, "the event stream fell silent")
        if loop.time() - last_heard > patience_seconds:
            raise trouble
        await asyncio.sleep(_PAUSES_SECONDS[min(failures, len(_PAUSES_SECONDS) - 1)])
        failures += 1


def is_passing(error: aio.AioRpcError) -> bool:
    """Whether trying again may help: the connection broke, or a part of the platform is being restarted."""
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return True
    # A stream that is reset on its way carries no status of the platform's own.
    unsigned = rpc_status.from_call(error) is None  # pyright: ignore[reportArgumentType] — AioRpcError has what it reads
    return unsigned and error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)
