"""Passing calls on to the replica of a service that can answer them."""

from __future__ import annotations  # grpc classes are generic in their stubs only

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

import grpc
from grpc import aio

from services.chassis import identity, status
from services.chassis.clients import channel
from services.chassis.errors import ForgeError, Kind, MissingScope
from services.chassis.identity import service_caller
from services.chassis.trust import Trust, peer_of

_PASSED_ON = frozenset(
    {
        identity.ACCOUNT_HEADER,
        identity.KEY_ID_HEADER,
        identity.SCOPES_HEADER,
        identity.SESSION_HEADER,
        identity.REQUEST_ID_HEADER,
        "idempotency-key",
    }
)
_TOGETHER_SECONDS = 0.05
_DETAILS = "grpc-status-details-bin"
_OF_THE_TRANSPORT = ("grpc-", "user-agent")
Elsewhere = Callable[[], str | None]
"""Where calls are answered now, "host:port"; empty for nowhere, None for here."""


class NobodyLeads(ForgeError):
    """No replica can answer the call at this moment."""

    kind = Kind.UNAVAILABLE
    reason = "SERVICE_UNAVAILABLE"

    def __init__(self) -> None:
        super().__init__("another scheduler is taking over; try again", retry_after_seconds=1.0)


class Relay(aio.ServerInterceptor):
    """Answers calls of `services` with what the replica answers that `elsewhere` names; an async context manager.

    The caller is checked here, as this peer vouches for it there, and everything else there.
    """

    def __init__(self, service: str, services: Collection[str], elsewhere: Elsewhere, trust: Trust) -> None:
        self._service = service
        self._services = frozenset(services)
        self._elsewhere = elsewhere
        self._trust = trust
        self._stack = AsyncExitStack()
        self._channels: dict[str, aio.Channel] = {}

    async def __aenter__(self) -> Relay:
        await self._stack.__aenter__()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self._stack.__aexit__(*exc_info)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a call: this process's own, or one that passes it on."""
        handler: Any = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.split("/")[1] not in self._services:
            return handler
        address = self._elsewhere()
        if address is None:
            return handler

        async def opened(context: aio.ServicerContext[Any, Any]) -> tuple[aio.Channel, Any]:
            metadata: Any = context.invocation_metadata()
            peer = peer_of(context.auth_context())  # pyright: ignore[reportArgumentType] — its values are lists
            with suppress(MissingScope):  # which is refused, and kept on record, where the call is answered
                identity.admit(method, metadata, peer)
            if not address:
                raise NobodyLeads
            return await self._channel(address), self._passed_on(dict(metadata or ()))

        async def unary(request: bytes, context: aio.ServicerContext[Any, Any]) -> bytes:
            try:
                other, metadata = await opened(context)
                call = other.unary_unary(method)(request, metadata=metadata, timeout=context.time_remaining())
                answer = await call
                await context.send_initial_metadata(_own(await call.initial_metadata()))
                return answer
            except aio.AioRpcError as answer:
                return await _repeat(answer, context)
            except ForgeError as error:
                return await status.abort(context, error)

        async def stream(request: bytes, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
            try:
                other, metadata = await opened(context)
                call = other.unary_stream(method)(request, metadata=metadata, timeout=context.time_remaining())
                try:
                    first = asyncio.ensure_future(call.read())
                    said = _own(await call.initial_metadata())
                    # A refusal comes with it. Where neither that nor a message does, the caller is to see it begin.
                    await asyncio.wait({first}, timeout=_TOGETHER_SECONDS)
                    if not first.done() or not first.exception():
                        await context.send_initial_metadata(said)
                    message: Any = await first
                    while message is not aio.EOF:
                        yield message
                        message = await call.read()
                finally:
                    call.cancel()
            except aio.AioRpcError as answer:
                await _repeat(answer, context)
            except ForgeError as error:
                await status.abort(context, error)

        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(stream)  # pyright: ignore[reportArgumentType] — async behaviours are not in the stubs
        return grpc.unary_unary_rpc_method_handler(unary)  # pyright: ignore[reportArgumentType] — as above

    def _passed_on(self, headers: Mapping[str, Any]) -> list[tuple[str, str]]:
        """What the other replica is told of the caller. In the name of a service only that service may call."""
        kept = {name: str(value) for name, value in headers.items() if name in _PASSED_ON}
        if identity.is_service(kept):
            kept |= dict(service_caller(self._service, identity.request_id_in(kept)).to_metadata())
        return list(kept.items())

    async def _channel(self, address: str) -> aio.Channel:
        if address not in self._channels:
            opening = channel(address, trust=self._trust, peer=self._service)
            self._channels[address] = await self._stack.enter_async_context(opening)
        return self._channels[address]


def _own(metadata: Any) -> Any:
    """What a service says beside its answer, without what the transport adds."""
    return tuple(
        (name, value) for name, value in metadata or () if name == _DETAILS or not name.startswith(_OF_THE_TRANSPORT)
    )


async def _repeat(answer: aio.AioRpcError, context: aio.ServicerContext[Any, Any]) -> Any:
    """Give the refusal of the other replica; where there is none to be reached, say so in words."""
    trailing: Any = answer.trailing_metadata()
    if answer.code() is grpc.StatusCode.UNAVAILABLE and not trailing:
        await status.abort(context, NobodyLeads())
    await context.abort(answer.code(), answer.details() or "", _own(trailing))
