"""The client for asyncio."""

from __future__ import annotations  # grpc classes are generic in their stubs only

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from types import TracebackType
from typing import Any, TypeVar

import grpc
from forge.scheduler.v1.render_pb2 import RenderEvent
from forge.scheduler.v1.render_service_pb2 import WatchRenderRequest
from grpc import aio

from forge_client.connection import CALL_SECONDS, PATIENCE_SECONDS, Address, Services, authorization, pause_seconds
from forge_client.errors import ForgeError

Request = TypeVar("Request")
Response = TypeVar("Response")


class AsyncForge(Services):
    """The platform at `api_base`, with an API key. An async context manager, made where its event loop runs."""

    def __init__(self, api_base: str, key: str, *, root_certificates: bytes | None = None) -> None:
        address = Address(api_base, root_certificates)
        if address.is_secure:
            self._channel = aio.secure_channel(address.target, address.credentials, options=address.options)
        else:
            self._channel = aio.insecure_channel(address.target, options=address.options)
        self._metadata = authorization(key)
        super().__init__(self._channel)

    async def __aenter__(self) -> AsyncForge:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way are cut off."""
        await self._channel.close()

    async def ask(
        self,
        method: aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        timeout_seconds: float | None = CALL_SECONDS,
    ) -> Response:
        """One answer. Raises ForgeError. Give no limit, `None`, to a call that waits for a render."""
        try:
            return await method(request, timeout=timeout_seconds, metadata=self._metadata)
        except aio.AioRpcError as error:
            raise ForgeError.of(error) from error

    async def stream(
        self, method: aio.UnaryStreamMultiCallable[Request, Response], request: Request
    ) -> AsyncGenerator[Response, None]:
        """The answers of a method that streams. Raises ForgeError. Closing the generator ends the call."""
        call: Any = method(request, metadata=self._metadata)
        try:
            async for answer in call:
                yield answer
        except aio.AioRpcError as error:
            raise ForgeError.of(error) from error
        finally:
            call.cancel()

    async def watch(
        self, render_id: str, *, after_seq: int = 0, patience_seconds: float = PATIENCE_SECONDS
    ) -> AsyncIterator[RenderEvent]:
        """A render's events after one of them, to the last one of the render.

        A connection that breaks is taken up again where it was, for `patience_seconds` without anything new. Raises
        ForgeError.
        """
        breaks, deadline = 0, time.monotonic() + patience_seconds
        while True:
            wanted = WatchRenderRequest(render_id=render_id, after_seq=after_seq)
            try:
                async with aclosing(self.stream(self.renders.WatchRender, wanted)) as events:
                    async for event in events:
                        breaks, deadline = 0, time.monotonic() + patience_seconds
                        if not event.keep_alive:
                            after_seq = event.seq
                            yield event
            except ForgeError as error:
                if error.status_code is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(pause_seconds(breaks))
                breaks += 1
            else:
                return
