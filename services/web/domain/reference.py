"""The contract as its readers see it: services, calls, messages and reasons, with their comments."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_STATUS = re.compile(r"([A-Z][A-Z_]+), (\d{3})\. ")
_REMEDY = "Remedy: "


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
    """A value of ErrorReason as it appears on the wire.

    Its comment begins with the codes it arrives with, where it is the status of a call, and ends with what to do.
    """

    name: str
    comment: str

    @property
    def grpc_code(self) -> str:
        """Name of the gRPC code; empty for a reason that only a render's own `error` has."""
        found = _STATUS.match(self.comment)
        return found[1] if found else ""

    @property
    def http_status(self) -> int | None:
        """The HTTP status; None for a reason that only a render's own `error` has."""
        found = _STATUS.match(self.comment)
        return int(found[2]) if found else None

    @property
    def meaning(self) -> str:
        """What happened, with its example."""
        return _STATUS.sub("", self.comment, count=1).partition(_REMEDY)[0].strip()

    @property
    def remedy(self) -> str:
        """What to do about it; empty where the comment does not say."""
        return self.comment.partition(_REMEDY)[2].strip()


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
