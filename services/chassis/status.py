"""The one place where errors meet gRPC: both ways between `ForgeError` and `google.rpc.Status`."""

from __future__ import annotations  # grpc classes are generic in their stubs only

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc import aio
from grpc_status import rpc_status
from opentelemetry import trace

from services.chassis.errors import ForgeError, Kind, ServiceUnavailable, Violation

log = structlog.get_logger()

DOMAIN = "forge"

# Clients take 8 KiB of metadata, statuses travel in it, in base64, and their message a second time.
_MAX_VIOLATION_BYTES = 3000

# CONFLICT is ABORTED, not FAILED_PRECONDITION: the edge must answer 409, not 400.
_CODES = {
    Kind.INVALID: code_pb2.INVALID_ARGUMENT,
    Kind.UNAUTHENTICATED: code_pb2.UNAUTHENTICATED,
    Kind.FORBIDDEN: code_pb2.PERMISSION_DENIED,
    Kind.NOT_FOUND: code_pb2.NOT_FOUND,
    Kind.CONFLICT: code_pb2.ABORTED,
    Kind.EXHAUSTED: code_pb2.RESOURCE_EXHAUSTED,
    Kind.UNAVAILABLE: code_pb2.UNAVAILABLE,
    Kind.INTERNAL: code_pb2.INTERNAL,
}
_KINDS = {code: kind for kind, code in _CODES.items()}


def to_status(error: ForgeError) -> status_pb2.Status:
    """Pack an error as the contract describes it: ErrorInfo first, then what else applies.

    It is cut to what fits into the metadata of any client: errors quote what they are about, and that may be long.
    """
    message = _cut(error.message, 500)
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            reason=error.reason,
            domain=DOMAIN,
            metadata={key: _cut(value, 500) for key, value in error.metadata.items()},
        )
    ]
    if error.violations:
        details.append(_bad_request(error.violations))
    if error.resource:
        resource_type, name = error.resource
        details.append(error_details_pb2.ResourceInfo(resource_type=resource_type, resource_name=_cut(name, 100)))
    if error.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return status_pb2.Status(code=_CODES[error.kind], message=message, details=[_packed(d) for d in details])


def to_error(call: aio.AioRpcError, service: str) -> ForgeError:
    """Read the error another service answered with; one outside the contract is SERVICE_UNAVAILABLE or INTERNAL."""
    try:
        status = rpc_status.from_call(call)  # pyright: ignore[reportArgumentType] — AioRpcError has what it reads
    except ValueError:  # the details contradict the code: something on the way answered instead of the service
        status = None
    if status is None:
        if call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return ServiceUnavailable(service)
        return ForgeError(f"{service} failed")
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    resource = error_details_pb2.ResourceInfo()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        for message in (info, bad_request, resource, retry):
            detail.Unpack(message)
    return ForgeError(
        status.message,
        kind=_KINDS.get(status.code, Kind.INTERNAL),
        reason=info.reason or "INTERNAL",
        violations=[Violation(v.field, v.description) for v in bad_request.field_violations],
        metadata=dict(info.metadata),
        resource=(resource.resource_type, resource.resource_name) if resource.resource_type else None,
        retry_after_seconds=retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None,
    )


@asynccontextmanager
async def errors_of(service: str) -> AsyncIterator[None]:
    """Turn what a call to another service raises into the error that service meant."""
    try:
        yield
    except aio.AioRpcError as call:
        raise to_error(call, service) from call


async def abort(context: aio.ServicerContext[Any, Any], error: BaseException) -> NoReturn:
    """End an RPC with an error. Whatever is not of the contract is logged here and shows only its trace id outside."""
    if not isinstance(error, ForgeError):
        trace_id = trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)
        log.error("unexpected error", exc_info=error)
        error = ForgeError(f"internal error (trace {trace_id})", metadata={"trace_id": trace_id})
    rich = rpc_status.to_status(to_status(error))
    metadata = tuple(rich.trailing_metadata)
    if error.retry_after_seconds is not None:
        # The edge makes a header of it.
        metadata += (("retry-after", str(max(1, math.ceil(error.retry_after_seconds)))),)
    await context.abort(rich.code, rich.details, metadata)


def _bad_request(violations: Sequence[Violation]) -> error_details_pb2.BadRequest:
    """As many violations as fit, and how many more there are."""
    packed = error_details_pb2.BadRequest()
    for number, violation in enumerate(violations):
        if packed.ByteSize() > _MAX_VIOLATION_BYTES:
            packed.field_violations.add(field="", description=f"and {len(violations) - number} more")
            break
        packed.field_violations.add(field=_cut(violation.field, 100), description=_cut(violation.description, 300))
    return packed


def _cut(text: str, max_bytes: int) -> str:
    """The text, or its beginning and an ellipsis. Lone surrogates, which no wire carries, become question marks."""
    data = text.encode("utf-8", "replace")
    if len(data) <= max_bytes:
        return data.decode()
    return data[: max_bytes - 3].decode("utf-8", "ignore") + "…"


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
