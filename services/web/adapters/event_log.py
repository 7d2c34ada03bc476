"""A render's log up to the present, read from the stream that would go on with what happens next."""

from typing import Any

from forge.scheduler.v1 import render_service_pb2
from grpc import StatusCode
from grpc.aio import AioRpcError

from services.chassis.identity import Caller
from services.chassis.status import to_error
from services.web.adapters.contract import as_json

TIMEOUT_SECONDS = 3.0


async def log_up_to(
    last_seq: int, method: Any, render_id: str, caller: Caller, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> list[dict[str, Any]]:
    """The events 1 to `last_seq`, in the form that REST has; those that came in time when the service is slow.

    `method` is WatchRender. Raises ForgeError as the service meant it.
    """
    if last_seq < 1:
        return []
    events: list[dict[str, Any]] = []
    request = render_service_pb2.WatchRenderRequest(render_id=render_id)
    call = method(request, metadata=caller.to_metadata(), timeout=timeout_seconds)
    try:
        async for event in call:
            if event.keep_alive:
                continue
            events.append(as_json(event))
            if event.seq >= last_seq:
                break
    except AioRpcError as error:
        if error.code() is not StatusCode.DEADLINE_EXCEEDED:
            raise to_error(error, "the scheduler") from error
    finally:
        call.cancel()
    return events
