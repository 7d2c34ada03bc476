"""The platform's services as the web service meets them: real servers, answers that a test states."""

from __future__ import annotations  # grpc classes are generic in their stubs only

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from forge.accounts.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
)
from forge.billing.v1 import billing_estimate_service_pb2, billing_estimate_service_pb2_grpc
from forge.catalog.v1 import catalog_service_pb2, catalog_service_pb2_grpc
from forge.scheduler.v1 import (
    probe_service_pb2,
    probe_service_pb2_grpc,
    render_service_pb2,
    render_service_pb2_grpc,
    runtime_service_pb2,
    runtime_service_pb2_grpc,
    upload_service_pb2,
    upload_service_pb2_grpc,
)
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from services.chassis.server import Mount, serving

_SERVED = {
    "catalog": ((catalog_service_pb2, catalog_service_pb2_grpc),),
    "billing_estimate": ((billing_estimate_service_pb2, billing_estimate_service_pb2_grpc),),
    "accounts": (
        (account_service_pb2, account_service_pb2_grpc),
        (session_service_pb2, session_service_pb2_grpc),
    ),
    "scheduler": (
        (render_service_pb2, render_service_pb2_grpc),
        (runtime_service_pb2, runtime_service_pb2_grpc),
        (probe_service_pb2, probe_service_pb2_grpc),
        (upload_service_pb2, upload_service_pb2_grpc),
    ),
}
SERVICES = tuple(_SERVED)

Answer = Message | Exception | Callable[[Any], Message]


@dataclass
class Platform:
    """What RPCs answer, by name, and what they were asked. One that nothing is said about answers an empty message."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[Message] = field(default_factory=list)

    def serving(self, service: str) -> AbstractAsyncContextManager[int]:
        """One of `SERVICES` on a free port, with the checks of scopes that all of them make."""
        mounts = [
            Mount(descriptor, getattr(rpc, f"add_{descriptor.name}Servicer_to_server"), _Servicer(self, descriptor))
            for pb, rpc in _SERVED[service]
            for descriptor in _services_of(pb.DESCRIPTOR)
        ]
        return serving("127.0.0.1:0", mounts, grace_seconds=0)

    def answer(self, name: str, request: Message, empty: type[Message]) -> Message:
        """What an RPC answers."""
        self.asked.append(request)
        told = self.answers.get(name, empty())
        if isinstance(told, Exception):
            raise told
        return told if isinstance(told, Message) else told(request)


class _Servicer:
    def __init__(self, platform: Platform, descriptor: ServiceDescriptor) -> None:
        self._platform = platform
        self._answers = {method.name: GetMessageClass(method.output_type) for method in descriptor.methods}

    def __getattr__(self, name: str) -> Any:
        empty = self._answers[name]

        async def answer(request: Message, _context: Any) -> Message:
            return self._platform.answer(name, request, empty)

        return answer


def _services_of(file: FileDescriptor) -> list[ServiceDescriptor]:
    return list(file.services_by_name.values())
