"""Bytes of videos, from the scheduler, as they come."""

from __future__ import annotations  # grpc classes are generic in their stubs only

from collections.abc import AsyncGenerator
from typing import Any

from forge.scheduler.v1 import render_service_pb2
from grpc import aio

from services.chassis.identity import Caller
from services.chassis.status import errors_of
from services.web.adapters.contract import Contract

_SERVICE = "the scheduler"


class VideoBytes:
    """A video, or a part of one, on its way. Whoever has one closes it."""

    def __init__(self, call: Any, first: Any) -> None:
        self._call = call
        self._first = first

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """The bytes in order. Raises ForgeError where they break off."""
        if self._first is aio.EOF:
            return
        yield self._first.data
        async with errors_of(_SERVICE):
            async for message in self._call:
                yield message.data

    def close(self) -> None:
        """Let go of it: the scheduler sends no more."""
        self._call.cancel()


async def open_video(
    contract: Contract, caller: Caller, render_id: str, *, offset: int = 0, length: int = 0
) -> VideoBytes:
    """The video of a render, once its first bytes are here. Raises ForgeError as the scheduler meant it."""
    wanted = render_service_pb2.GetVideoRequest(render_id=render_id, offset=offset, length=length)
    call: Any = contract.renders.GetVideo(wanted, metadata=caller.to_metadata())
    try:
        async with errors_of(_SERVICE):
            return VideoBytes(call, await call.read())
    except BaseException:
        call.cancel()
        raise
