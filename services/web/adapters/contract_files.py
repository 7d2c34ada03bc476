"""The contract's files as `gen/forge.binpb` holds them, with the comments of their parts."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from forge.common.v1 import access_pb2
from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

from services.chassis.contract import descriptor_set

PUBLIC_SCOPES = frozenset({"read", "inference", "admin"})
"""Scopes that a key can have; what needs another one is between services."""
_OURS = "forge."
_REASONS = ("forge.common.v1.ErrorReason", "ERROR_REASON_")
_HTTP: Any = annotations_pb2.http  # its stub does not say what it extends
# How descriptors number their parts, for the paths of comments.
_FILE_MESSAGES, _FILE_ENUMS, _FILE_SERVICES = 4, 5, 6
_MESSAGE_FIELDS, _MESSAGE_NESTED, _MESSAGE_ENUMS, _ENUM_VALUES, _SERVICE_METHODS = 2, 3, 4, 2, 2

Place = tuple[int, ...]


class Route(NamedTuple):
    """A REST route of a method. `body` says what its body is: "" for none, "*" for all fields left, or one field."""

    method: str
    path: str
    body: str


class ContractFile:
    """A file with the comments of its parts by their paths."""

    def __init__(self, proto: FileDescriptorProto) -> None:
        self.proto = proto
        self._comments = {
            tuple(found.path): _plain(found.leading_comments)
            for found in proto.source_code_info.location
            if found.leading_comments
        }

    def messages(self) -> Iterator[tuple[str, "ContractMessage"]]:
        """Every message with its full name, nested ones too."""
        waiting: list[tuple[str, DescriptorProto, Place]] = [
            (f"{self.proto.package}.{message.name}", message, (_FILE_MESSAGES, number))
            for number, message in enumerate(self.proto.message_type)
        ]
        while waiting:
            name, message, path = waiting.pop()
            comments = [self._comment(*path, _MESSAGE_FIELDS, at) for at in range(len(message.field))]
            yield name, ContractMessage(name, message, self._comment(*path), comments)
            waiting.extend(
                (f"{name}.{nested.name}", nested, (*path, _MESSAGE_NESTED, number))
                for number, nested in enumerate(message.nested_type)
            )

    def enums(self) -> Iterator[tuple[str, "ContractEnum"]]:
        """Every enum with its full name, those within messages too."""
        found = [(self.proto.package, enum, (_FILE_ENUMS, at)) for at, enum in enumerate(self.proto.enum_type)]
        for number, message in enumerate(self.proto.message_type):
            within = f"{self.proto.package}.{message.name}"
            found += [
                (within, enum, (_FILE_MESSAGES, number, _MESSAGE_ENUMS, at))
                for at, enum in enumerate(message.enum_type)
            ]
        for within, enum, path in found:
            comments = [self._comment(*path, _ENUM_VALUES, at) for at in range(len(enum.value))]
            yield f"{within}.{enum.name}", ContractEnum(enum, self._comment(*path), comments)

    def services(self) -> Iterator["ContractService"]:
        """The services that have calls for keys, with those calls."""
        for number, service in enumerate(self.proto.service):
            full_name, path = f"{self.proto.package}.{service.name}", (_FILE_SERVICES, number)
            methods = [
                ContractMethod(
                    method, f"{full_name}.{method.name}", self._comment(*path, _SERVICE_METHODS, at), _scope_of(method)
                )
                for at, method in enumerate(service.method)
                if _scope_of(method) in PUBLIC_SCOPES
            ]
            if methods:
                yield ContractService(service, full_name, self._comment(*path), methods)

    def _comment(self, *path: int) -> str:
        return self._comments.get(path, "")


class ContractMessage(NamedTuple):
    """A message, its comment, and those of its fields in their order."""

    full_name: str
    proto: DescriptorProto
    comment: str
    field_comments: list[str]


class ContractEnum(NamedTuple):
    """An enum, its comment, and those of its values in their order."""

    proto: EnumDescriptorProto
    comment: str
    value_comments: list[str]


class ContractMethod(NamedTuple):
    """A method that keys with `scope` may call."""

    proto: MethodDescriptorProto
    full_name: str
    comment: str
    scope: str

    @property
    def routes(self) -> list[Route]:
        """Its REST routes, the first one first; none for a call that is gRPC only."""
        rule: HttpRule = self.proto.options.Extensions[_HTTP]
        return [Route(*_pattern(each), each.body) for each in (rule, *rule.additional_bindings) if any(_pattern(each))]

    @property
    def input_name(self) -> str:
        """Full name of the message that asks."""
        return self.proto.input_type.lstrip(".")

    @property
    def output_name(self) -> str:
        """Full name of the message that answers."""
        return self.proto.output_type.lstrip(".")


class ContractService(NamedTuple):
    """A service and those of its methods that keys may call."""

    proto: ServiceDescriptorProto
    full_name: str
    comment: str
    methods: list[ContractMethod]


class ContractFiles:
    """The files of the contract."""

    def __init__(self, files: FileDescriptorSet) -> None:
        self._files = [ContractFile(file) for file in files.file if file.package.startswith(_OURS)]
        self.messages: Mapping[str, ContractMessage] = dict(found for file in self._files for found in file.messages())
        self.enums: Mapping[str, ContractEnum] = dict(found for file in self._files for found in file.enums())
        self.services = [service for file in self._files for service in file.services()]

    @property
    def reasons(self) -> list[tuple[str, str]]:
        """Reasons of errors as they are on the wire, each with its comment."""
        name, prefix = _REASONS
        found = self.enums.get(name)
        if found is None:
            return []
        named = zip(found.proto.value, found.value_comments, strict=True)
        return [(value.name.removeprefix(prefix), comment) for value, comment in named if value.number]


@cache
def contract_files() -> ContractFiles:
    """The files of this installation's contract. They are read once."""
    return ContractFiles(descriptor_set())


def _scope_of(method: MethodDescriptorProto) -> str:
    return method.options.Extensions[access_pb2.required_scope]


def _pattern(rule: HttpRule) -> tuple[str, str]:
    """Method and path of a rule; both empty for one that has none."""
    kind = rule.WhichOneof("pattern")
    if kind is None:
        return "", ""
    if kind == "custom":
        return rule.custom.kind, rule.custom.path
    return kind.upper(), getattr(rule, kind)


def _plain(comment: str) -> str:
    """A comment as paragraphs and, where it is indented, lines of its own; other line breaks are those of the file."""
    lines = [line.removeprefix(" ").rstrip() for line in comment.strip("\n").split("\n")]
    joined = re.sub(r"(?<=\S)\n(?=\S)", " ", "\n".join(lines))
    return re.sub(r" {2,}", " ", re.sub(r"\n +", "\n", joined)).strip()
