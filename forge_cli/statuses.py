"""What the API answered when it said no, in words: one form for gRPC statuses and JSON answers."""

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import grpc
import httpx
from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc import aio
from grpc_status import rpc_status

from forge_cli import words
from forge_cli.failures import CommandFailed

_HOW_TO_GIVE_A_KEY = (
    "give a key with --api-key, FORGE_API_KEY, or api_key in $FORGE_HOME/cli.toml",
    "on the machine that runs Forge the first key lies in $FORGE_HOME/api-key",
)

_REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "MODEL_NOT_FOUND": "see which there are with: forge models",
        "VERSION_NOT_FOUND": "see which it has with: forge model SLUG",
        "RENDER_NOT_FOUND": "see which there are with: forge renders",
        "UNKNOWN_TARGET": "see what is offered with: forge capacity",
        "MISSING_SCOPE": "use a key that has it, with --api-key; who has an admin key makes one with:"
        " forge keys create NAME --scope SCOPE",
        "COST_LIMIT_EXCEEDED": "allow more with --max-cost, or see what each target costs with: forge estimate SLUG",
        "TARGET_NOT_OFFERED": "see what is offered with: forge capacity",
        "IDEMPOTENCY_CONFLICT": "use another --idempotency-key for another request; a --deadline such as 10m is another"
        " time in every call",
        "RENDER_NOT_PAUSED": "see how it stands with: forge why ID",
        "RENDER_NOT_RETRYABLE": "see how it stands with: forge why ID",
        "NO_FREE_SLOT": "see what holds the slots with: forge runtimes, and free them with: forge stop SLUG",
        "QUOTA_EXCEEDED": "see what waits with: forge renders --status queued, and give up with: forge cancel ID",
        "TARGET_OVERLOADED": "see where there is room with: forge capacity",
        "WEBHOOK_NOT_FOUND": "see which there are with: forge webhooks list",
        "PROBE_NOT_FOUND": "see which there are with: forge probes",
        "API_KEY_NOT_FOUND": "see which there are with: forge keys list",
        "API_KEY_ALREADY_ROTATED": "see which takes its place with: forge keys list",
        "API_KEY_ENDED": "make a new one with: forge keys create NAME",
        "RATE_LIMITED": "make a key with another limit with: forge keys create NAME --rate N --burst N",
        "NO_ESTIMATE": "see what is known of each target with: forge targets SLUG",
        "DELIVERY_NOT_FOUND": "see which there are with: forge webhooks deliveries",
    }
)
"""What to do about a reason of the contract, where the message alone does not say it."""
_A_WHILE_SECONDS = 90
_NOBODY_THERE = ("failed to connect", "errors resolving", "DNS resolution failed", "address lookup failed")


class RequestFailed(CommandFailed):
    """An answer of the API that says no; `code` is its google.rpc.Code, `reason` its name in the contract or "".

    `status` is the answer itself where there was one.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        facts: Iterable[str],
        hints: Iterable[str],
        status: status_pb2.Status | None = None,
    ) -> None:
        super().__init__(message, facts=facts, hints=hints, code=code)
        self.reason = reason
        self._status = status

    def as_status(self) -> dict[str, Any]:
        """The status as the REST API has it, and beside its details what this command knows to do about it."""
        if self._status is None:
            return super().as_status()
        told = json_format.MessageToDict(self._status, preserving_proto_field_name=True)
        return {**told, "details": [*told.get("details", ()), *self.help]}


def from_call(error: aio.AioRpcError, api_base: str) -> RequestFailed:
    """The failure of an RPC."""
    status = rpc_status.from_call(error)  # pyright: ignore[reportArgumentType] — AioRpcError has what from_call reads
    if status is None:
        number = int(error.code().value[0])  # pyright: ignore[reportIndexIssue] — the value is (number, name)
        status = status_pb2.Status(code=number, message=error.details() or "")
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return unreachable(api_base, status.message) if is_refused(error) else _not_ready(api_base, status.message)
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            status.message = f"{api_base} did not answer in time"
    return from_status(status)


def from_response(response: httpx.Response) -> RequestFailed:
    """The failure of an HTTP request. The response must have been read."""
    try:
        body = response.json()
        status = status_pb2.Status(code=int(body["code"]), message=str(body["message"]))
    except (ValueError, KeyError, TypeError):
        return RequestFailed(
            code_pb2.UNKNOWN,
            "",
            f"{response.request.url.copy_with(query=None)} answered HTTP {response.status_code}",
            facts=[],
            hints=[],
        )
    for detail in body.get("details", ()):
        try:
            json_format.ParseDict(detail, status.details.add(), ignore_unknown_fields=True)
        except json_format.ParseError:
            status.details.pop()  # a detail this client does not know says nothing to it
    return from_status(status)


def is_refused(error: aio.AioRpcError) -> bool:
    """Whether nobody listens at the address, or it has none, as opposed to an edge that waits for a service."""
    cause = error.details() or ""
    return error.code() is grpc.StatusCode.UNAVAILABLE and any(sign in cause for sign in _NOBODY_THERE)


def _not_ready(api_base: str, cause: str) -> RequestFailed:
    return RequestFailed(
        code_pb2.UNAVAILABLE,
        "",
        f"Forge at {api_base} cannot answer now",
        facts=[cause] if cause else [],
        hints=["a part of it is being started; try again in some seconds"],
    )


def unreachable(api_base: str, cause: str) -> RequestFailed:
    """Nobody answers at the API's address."""
    return RequestFailed(
        code_pb2.UNAVAILABLE,
        "",
        f"cannot reach Forge at {api_base}",
        facts=[cause] if cause else [],
        hints=["start it with 'forge up', or say where it is with --api-base or FORGE_API_BASE"],
    )


def from_status(status: status_pb2.Status, now: Callable[[], datetime] = datetime.now) -> RequestFailed:
    """A google.rpc.Status in words. `now` is by the reader's clock."""
    reason, message, facts, hints = "", status.message, [], []
    for detail in status.details:
        if detail.Unpack(info := error_details_pb2.ErrorInfo()):
            reason = info.reason
            facts += [f"{key}: {value}" for key, value in sorted(info.metadata.items()) if value != reason]
        elif detail.Unpack(bad := error_details_pb2.BadRequest()):
            facts += [f"{v.field}: {v.description}" if v.field else v.description for v in bad.field_violations]
            if any(v.description in message for v in bad.field_violations):
                message = message.partition(":")[0]  # each violation has its own line below
        elif detail.Unpack(retry := error_details_pb2.RetryInfo()):
            hints.append(_come_back(max(1, math.ceil(retry.retry_delay.ToNanoseconds() / 1e9)), now()))
    if status.code == code_pb2.UNAUTHENTICATED:
        hints += _HOW_TO_GIVE_A_KEY
    if reason in _REMEDIES:
        hints.append(_REMEDIES[reason])
    reason = reason or (code_pb2.Code.Name(status.code) if status.code in code_pb2.Code.values() else str(status.code))
    facts.append(f"reason: {reason}")
    return RequestFailed(
        status.code, reason, message or reason.lower(), facts=facts, hints=hints, status=_known(status)
    )


def with_origin_of_key(refused: RequestFailed, origin: str) -> RequestFailed:
    """The failure; that of a key with where the key came from: whoever has changed one may have changed another."""
    if refused.code == code_pb2.UNAUTHENTICATED and origin:
        told = f"the key came from {origin}: it is not known here, was revoked or has expired"
        refused.facts = (told, *refused.facts)
    return refused


def _known(status: status_pb2.Status) -> status_pb2.Status:
    """The status without details that this client has no type for."""
    known = status_pb2.Status(code=status.code, message=status.message)
    for detail in status.details:
        try:
            json_format.MessageToDict(detail)
        except (TypeError, json_format.Error):
            continue
        known.details.append(detail)
    return known


def _come_back(seconds: int, now: datetime) -> str:
    """When to try again: in how long, and at what time where nobody would wait for it."""
    if seconds < _A_WHILE_SECONDS:
        return f"try again in {seconds} s"
    return f"try again in {words.seconds(seconds)}, at {(now + timedelta(seconds=seconds)).strftime('%H:%M:%S')}"
