"""The contract as its readers see it: services, calls, messages and reasons, with their comments."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Type:
    """What a field holds, in words; `message` is the full name of the message of the contract it is made of, if any."""

    text: str
    message: str = ""


@dataclass(frozen=True)
class Field:
    """A field. `place` says where REST has it in a request: path, query or body; empty in other messages."""

    name: str
    type: Type
    comment: str
    place: str = ""
    is_optional: bool = False


@dataclass(frozen=True)
class Call:
    """An RPC and the REST route it is."""

    name: str
    full_name: str
    comment: str
    scope: str
    http_method: str
    http_path: str
    request: tuple[Field, ...]
    response: Type
    is_stream: bool

    @property
    def grpc_path(self) -> str:
        """How gRPC names it: "/package.Service/Method"."""
        service, _, method = self.full_name.rpartition(".")
        return f"/{service}/{method}"


@dataclass(frozen=True)
class Service:
    """A service and those of its calls that keys may make."""

    name: str
    full_name: str
    comment: str
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Message:
    """A message that answers contain, or requests within their fields."""

    full_name: str
    comment: str
    fields: tuple[Field, ...]

    @property
    def name(self) -> str:
        """Its name without the package."""
        return self.full_name.rpartition(".")[2]


@dataclass(frozen=True)
class Reason:
    """A value of ErrorReason as it appears on the wire."""

    name: str
    comment: str


@dataclass(frozen=True)
class Reference:
    """The whole public contract."""

    services: tuple[Service, ...]
    messages: Mapping[str, Message]
    reasons: tuple[Reason, ...]


def place_of(field: str, path: str, body: str) -> str:
    """Where REST has a field of a request, by the path's template and the body's name: "", "*" or a field."""
    if f"{{{field}}}" in path or f"{{{field}=" in path:
        return "path"
    return "body" if body in ("*", field) else "query"
