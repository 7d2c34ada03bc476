"""Following renders and runtimes over connections that may break."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import grpc
from forge.scheduler.v1.render_pb2 import RenderEvent
from forge.scheduler.v1.render_service_pb2 import WatchRenderRequest
from forge.scheduler.v1.runtime_service_pb2 import FamilyStatus, WatchFamilyRequest
from grpc import aio
from grpc_status import rpc_status

from forge_cli.client import Client
from forge_cli.patience import Patience
from forge_cli.statuses import RequestFailed, from_call, unreachable

FINAL_STATUSES = frozenset({"succeeded", "failed", "canceled", "expired"})
_SILENCE_SECONDS = 60.0  # the server gives a sign of life every 15 s


async def follow(
    client: Client, render_id: str, patience: Patience, *, after_seq: int = 0
) -> AsyncGenerator[RenderEvent, None]:
    """Every event after `after_seq`, once and in order, up to the render's last one.

    A broken connection is taken up again after the last event seen, as long as `patience` bears it. Signs of life are
    not passed on.
    """
    while True:
        request = WatchRenderRequest(render_id=render_id, after_seq=after_seq)
        trouble: RequestFailed = unreachable(client.api_base, "the event stream ended early")
        try:
            events = client.stream(client.renders.WatchRender, request, silence_seconds=_SILENCE_SECONDS)
            async with aclosing(events):
                async for event in events:
                    patience.heard()
                    if event.keep_alive or event.seq <= after_seq:
                        continue
                    after_seq = event.seq
                    yield event
                    if event.status in FINAL_STATUSES:
                        return
        except aio.AioRpcError as error:
            trouble = _passing(error, client.api_base)
        except TimeoutError:
            trouble = unreachable(client.api_base, "the event stream fell silent")
        await patience.bear(trouble)


async def follow_family(
    client: Client, slug: str, version: str, patience: Patience
) -> AsyncGenerator[FamilyStatus, None]:
    """How warm a version is, now and at every change, until the caller leaves."""
    request = WatchFamilyRequest(slug=slug, version=version)
    while True:
        trouble: RequestFailed = unreachable(client.api_base, "the stream of runtimes ended")
        try:
            families = client.stream(client.runtimes.WatchFamily, request, silence_seconds=_SILENCE_SECONDS)
            async with aclosing(families):
                async for family in families:
                    patience.heard()
                    yield family
        except aio.AioRpcError as error:
            trouble = _passing(error, client.api_base)
        except TimeoutError:
            trouble = unreachable(client.api_base, "the stream of runtimes fell silent")
        await patience.bear(trouble)


def _passing(error: aio.AioRpcError, api_base: str) -> RequestFailed:
    """The failure, to be borne. Raises it when trying again cannot help."""
    trouble = from_call(error, api_base)
    if not is_passing(error):
        raise trouble from error
    return trouble


def is_passing(error: aio.AioRpcError) -> bool:
    """Whether trying again may help: the connection broke, or a part of the platform is being restarted."""
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return True
    # A stream that is reset on its way carries no status of the platform's own.
    unsigned = rpc_status.from_call(error) is None  # pyright: ignore[reportArgumentType] — AioRpcError has what it reads
    return unsigned and error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)
