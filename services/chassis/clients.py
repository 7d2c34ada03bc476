"""Channels to sibling services: limits, traces and the caller's identity."""

from __future__ import annotations  # grpc classes are generic in their stubs only

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpc import aio
from opentelemetry import trace
from opentelemetry.instrumentation.grpc import aio_client_interceptors

from services.chassis.identity import Caller
from services.chassis.server import MAX_MESSAGE_BYTES
from services.chassis.trust import PLAIN_LOOPBACK, Trust

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    (
        "grpc.initial_reconnect_backoff_ms",
        100,
    ),  # siblings are restarted within a second; the default waits up to two minutes
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


@asynccontextmanager
async def channel_to(
    address: str, caller: Caller, *, trust: Trust = PLAIN_LOOPBACK, peer: str = ""
) -> AsyncIterator[aio.Channel]:
    """An open channel to the program `peer` at "host:port" that speaks for `caller`."""
    async with channel(address, _IdentifyUnary(caller), _IdentifyStream(caller), trust=trust, peer=peer) as opened:
        yield opened


@asynccontextmanager
async def channel(
    address: str, *interceptors: aio.ClientInterceptor, trust: Trust = PLAIN_LOOPBACK, peer: str = ""
) -> AsyncIterator[aio.Channel]:
    """An open channel to the program `peer` at "host:port"; each call says in its metadata for whom it speaks."""
    everyone = [*aio_client_interceptors(filter_=_within_a_trace), *interceptors]
    async with trust.channel(address, peer, options=CHANNEL_OPTIONS, interceptors=everyone) as opened:
        yield opened


def _within_a_trace(details: aio.ClientCallDetails) -> bool:
    """Spans belong to somebody's request; what a service asks on its own account would be traces of one span.

    Workers are told of their trace in the request: a call that is as long as an attempt would be lost with its caller.
    """
    method: Any = details.method
    name = method.decode() if isinstance(method, bytes) else str(method)
    return not name.startswith("/forge.worker.") and trace.get_current_span().get_span_context().is_valid


class _Identify:
    def __init__(self, caller: Caller) -> None:
        self._metadata = caller.to_metadata()

    def _signed(self, details: aio.ClientCallDetails) -> aio.ClientCallDetails:
        metadata = aio.Metadata(*(details.metadata or ()), *self._metadata)
        return details._replace(metadata=metadata)  # pyright: ignore[reportAttributeAccessIssue] — a namedtuple in fact


class _IdentifyUnary(_Identify, aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(self._signed(client_call_details), request)


class _IdentifyStream(_Identify, aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Any, client_call_details: aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(self._signed(client_call_details), request)
