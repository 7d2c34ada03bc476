"""A gRPC server as every service runs it: limits, errors, identity, health, reflection, traces, orderly end."""

from __future__ import annotations  # grpc classes are generic in their stubs only

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import grpc
import structlog
from forge.common.v1 import access_pb2
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection
from opentelemetry.instrumentation.grpc import aio_server_interceptor

from services.chassis import identity, status
from services.chassis.audit.contract import CallKeeper, audited_rpc
from services.chassis.call_meter import CallMeter
from services.chassis.characters import check_characters
from services.chassis.contract import descriptor_set
from services.chassis.errors import InvalidInput, MalformedRequest, MissingScope
from services.chassis.trust import PLAIN_LOOPBACK, Trust, peer_of

log = structlog.get_logger()

MAX_MESSAGE_BYTES = 32 * 1024 * 1024

SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # The edge takes headers of 16 KiB, and a path comes twice. By default some calls above 8 KiB are refused at random.
    ("grpc.max_metadata_size", 64 * 1024),
    ("grpc.absolute_max_metadata_size", 64 * 1024),
    ("grpc.so_reuseport", 0),  # two servers on one port would each get half of the calls
    ("grpc.server.max_pending_requests", 20_000),  # the default cancels streams at random above 1,000 opened at once
    ("grpc.server.max_pending_requests_hard_limit", 40_000),
    # Envoy pings silent connections; without these grpc answers "too many pings" and closes them.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    # A caller that is gone without a word, its link cut, is noticed within minutes instead of hours.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


@dataclass(frozen=True)
class Mount:
    """A servicer and how to add it to a server."""

    descriptor: ServiceDescriptor
    add_to_server: Callable[[Any, aio.Server], None]
    servicer: object


@asynccontextmanager
async def serving(
    address: str,
    mounts: Sequence[Mount],
    *,
    grace_seconds: float,
    trust: Trust = PLAIN_LOOPBACK,
    audit: CallKeeper | None = None,
    drain: Callable[[], Awaitable[object]] | None = None,
    relay: aio.ServerInterceptor | None = None,
) -> AsyncIterator[int]:
    """Serve `mounts` on "host:port" until the block ends; yields the port, which matters when 0 was asked for.

    On the way out health says NOT_SERVING first, then `drain` brings work under way to an end while its callers can
    still hear of it, then calls under way get `grace_seconds` to finish. Calls that the contract has audited are kept
    on record by `audit`, where it is given. `relay` may have others answer some of them, who then do all of that.
    """
    interceptors = [
        aio_server_interceptor(filter_=_worth_a_span),
        CallMeter(),
        *([relay] if relay else []),
        _Gate(audit),
    ]
    server = aio.server(options=SERVER_OPTIONS, interceptors=interceptors)
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for mount in mounts:
        mount.add_to_server(mount.servicer, server)
    reflection.enable_server_reflection(public_services(), server, pool=_contract())
    port = trust.listen(server, address)
    await server.start()
    for name in ("", *(mount.descriptor.full_name for mount in mounts)):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    log.info("serving", address=address, port=port)
    try:
        yield port
    finally:
        await health.enter_graceful_shutdown()
        if drain is not None:
            await drain()
        await server.stop(grace_seconds)
        log.info("stopped")


def _worth_a_span(details: grpc.HandlerCallDetails) -> bool:
    """Calls within a trace, and those of callers outside; not health checks and what the platform asks itself."""
    headers: dict[str, Any] = dict(details.invocation_metadata or ())
    is_from_outside = identity.ACCOUNT_HEADER in headers and not identity.is_service(headers)
    return "traceparent" in headers or is_from_outside


@cache
def public_services() -> tuple[str, ...]:
    """Names of the services the edge offers: those of the contract that API keys may call, and health."""
    names = [
        f"{file.package}.{service.name}"
        for file in descriptor_set().file
        for service in file.service
        if file.package.startswith("forge.") and any(_is_for_keys(method) for method in service.method)
    ]
    return (*sorted(names), health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)


def _is_for_keys(method: MethodDescriptorProto) -> bool:
    return method.options.Extensions[access_pb2.required_scope] not in ("", identity.SERVICE_SCOPE)


@cache
def _contract() -> DescriptorPool:
    """The whole contract, so that any service can answer reflection for all of them."""
    pool = DescriptorPool()
    for file in descriptor_set().file:
        pool.Add(file)  # pyright: ignore[reportAttributeAccessIssue] — missing from the stubs
    health = health_pb2.DESCRIPTOR.serialized_pb
    pool.AddSerializedFile(health)
    return pool


@dataclass(frozen=True)
class _Unusable:
    """Stands for a request that nobody should get until a handler can answer it."""

    refusal: MalformedRequest | InvalidInput


class _Gate(aio.ServerInterceptor):
    """Admits the caller, answers what cannot be used, and turns exceptions into statuses, around every RPC."""

    def __init__(self, audit: CallKeeper | None) -> None:
        self._audit = audit

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler: Any = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or handler.request_streaming or not method.startswith("/forge."):
            return handler
        audit, rpc = self._audit, audited_rpc(method)

        def admitted(request: object, context: aio.ServicerContext[Any, Any]) -> object:
            peer = peer_of(context.auth_context())  # pyright: ignore[reportArgumentType] — its values are lists
            identity.admit(method, context.invocation_metadata(), peer)  # pyright: ignore[reportArgumentType] — Metadatum pairs
            if isinstance(request, _Unusable):
                raise request.refusal
            return request

        async def answered(request: object, context: aio.ServicerContext[Any, Any]) -> object:
            if audit is None or rpc is None:
                return await handler.unary_unary(admitted(request, context), context)
            try:
                admitted(request, context)
            except (MissingScope, MalformedRequest, InvalidInput) as refusal:
                await audit.refused(rpc, request, refusal)
                raise
            return await audit.kept(rpc, request, lambda: handler.unary_unary(request, context))

        async def unary(request: object, context: aio.ServicerContext[Any, Any]) -> object:
            try:
                return await answered(request, context)
            except Exception as error:
                return await _answer(error, context)

        async def stream(request: object, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[object]:
            try:
                async with aclosing(handler.unary_stream(admitted(request, context), context)) as responses:
                    async for response in responses:
                        yield response
            except Exception as error:
                await _answer(error, context)

        def deserialize(data: bytes) -> object:
            try:
                request = handler.request_deserializer(data)
                check_characters(request, data)
            except DecodeError:
                what = "the request cannot be decoded: it is damaged or nested too deeply"
                return _Unusable(MalformedRequest(what))
            except InvalidInput as refusal:
                return _Unusable(refusal)
            return request

        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, deserialize, handler.response_serializer)  # pyright: ignore[reportArgumentType] — async behaviours are not in the stubs
        return grpc.unary_unary_rpc_method_handler(unary, deserialize, handler.response_serializer)  # pyright: ignore[reportArgumentType] — as above


async def _answer(error: Exception, context: aio.ServicerContext[Any, Any]) -> None:
    if isinstance(error, aio.AbortError):
        raise error
    await status.abort(context, error)
