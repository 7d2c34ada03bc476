"""How many calls a server answers, how, and how long they take."""

from __future__ import annotations  # grpc classes are generic in their stubs only

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from time import monotonic
from typing import Any

import grpc
from grpc import aio
from opentelemetry import metrics

_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0]
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}  # pyright: ignore[reportIndexIssue] — (number, name)

_calls = metrics.get_meter("forge.chassis").create_histogram(
    "forge.rpc.server.duration",
    unit="s",
    description="Time from a call to the end of its answer",
    explicit_bucket_boundaries_advisory=_BOUNDS,
)


class CallMeter(aio.ServerInterceptor):
    """Measures every call of a method that there is. Inside of the span of the call, so that it leads to its trace."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of a call."""
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        service, _, method = handler_call_details.method.strip("/").rpartition("/")

        def note(began: float, code: str) -> None:
            _calls.record(monotonic() - began, {"rpc_service": service, "rpc_method": method, "code": code})

        async def unary(request: object, context: aio.ServicerContext[Any, Any]) -> object:
            began, code = monotonic(), "CANCELLED"
            try:
                answer = await handler.unary_unary(request, context)
                code = _code(context, "OK")
                return answer
            except Exception:
                code = _code(context, "UNKNOWN")
                raise
            finally:
                note(began, code)

        async def stream(request: object, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[object]:
            began, code = monotonic(), "CANCELLED"
            try:
                async with aclosing(handler.unary_stream(request, context)) as responses:
                    async for response in responses:
                        yield response
                code = _code(context, "OK")
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except Exception:
                code = _code(context, "UNKNOWN")
                raise
            finally:
                note(began, code)

        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                stream, handler.request_deserializer, handler.response_serializer
            )  # pyright: ignore[reportArgumentType] — async behaviours are not in the stubs
        return grpc.unary_unary_rpc_method_handler(unary, handler.request_deserializer, handler.response_serializer)  # pyright: ignore[reportArgumentType] — as above


def _code(context: aio.ServicerContext[Any, Any], otherwise: str) -> str:
    """What the call was answered with; 0 is also what grpc has before anybody set it."""
    code: Any = context.code()
    number = code.value[0] if isinstance(code, grpc.StatusCode) else code
    return _CODES.get(number, otherwise) if number else otherwise
