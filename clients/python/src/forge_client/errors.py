"""What the platform says when it refuses, taken out of a gRPC error."""

from __future__ import annotations  # grpc classes are generic in their stubs only

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

_DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with a request."""

    field: str
    description: str


class ForgeError(grpc.RpcError):
    """A call that was refused or failed.

    `reason` is the name of a `forge.common.v1.ErrorReason` without its prefix, "" where nobody of the platform
    answered. `facts` are the metadata of that reason, `violations` everything that is wrong with the request,
    `retry_after_seconds` when to try again.
    """

    def __init__(self, status_code: grpc.StatusCode, message: str, status: status_pb2.Status | None = None) -> None:
        self.status_code = status_code
        self.message = message
        self.reason = ""
        self.facts: Mapping[str, str] = {}
        self.violations: tuple[Violation, ...] = ()
        self.retry_after_seconds: float | None = None
        for detail in status.details if status else ():
            self._read(detail)
        super().__init__(f"{self.reason or status_code.name}: {message}")

    @classmethod
    def of(cls, error: grpc.RpcError) -> ForgeError:
        """The error of a call, of either kind of client."""
        call: Any = error  # errors of calls are calls
        metadata = call.trailing_metadata() or ()
        packed = next((value for key, value in metadata if key == _DETAILS), None)
        status = status_pb2.Status.FromString(packed) if isinstance(packed, bytes) else None
        return cls(call.code(), call.details() or "", status)

    def code(self) -> grpc.StatusCode:
        """The gRPC code, as other errors of gRPC have it."""
        return self.status_code

    def details(self) -> str:
        """The message, as other errors of gRPC have it."""
        return self.message

    def _read(self, detail: any_pb2.Any) -> None:
        info, request, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(info):
            self.reason, self.facts = info.reason, dict(info.metadata)
        elif detail.Unpack(request):
            self.violations = tuple(Violation(each.field, each.description) for each in request.field_violations)
        elif detail.Unpack(retry):
            self.retry_after_seconds = retry.retry_delay.ToTimedelta().total_seconds()
