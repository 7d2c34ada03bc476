"""The contract's reference, read from the descriptors that `gen/forge.binpb` holds with their comments."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from forge.common.v1 import access_pb2
from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from services.chassis.config import REPOSITORY
from services.web.domain.reference import Call, Field, Message, Reason, Reference, Service, Type, place_of

_PUBLIC_SCOPES = frozenset({"read", "inference", "admin"})
_PUBLIC_PACKAGE = "forge."
_REASONS = ("forge.common.v1.ErrorReason", "ERROR_REASON_")
_SCALARS = {
    FieldDescriptorProto.TYPE_STRING: "string",
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_INT32: "int32",
    FieldDescriptorProto.TYPE_INT64: "int64",
    FieldDescriptorProto.TYPE_UINT32: "uint32",
    FieldDescriptorProto.TYPE_UINT64: "uint64",
    FieldDescriptorProto.TYPE_FLOAT: "float",
    FieldDescriptorProto.TYPE_DOUBLE: "double",
    FieldDescriptorProto.TYPE_BYTES: "bytes",
}
_WELL_KNOWN = {
    "google.protobuf.Timestamp": "time, RFC 3339",
    "google.protobuf.Duration": 'duration, like "3600s"',
    "google.protobuf.Struct": "JSON object",
    "google.protobuf.Value": "JSON value",
    "google.protobuf.ListValue": "JSON array",
    "google.protobuf.Any": "any message",
    "google.api.HttpBody": "bytes with their media type",
}
# How descriptors number their parts, for the paths of comments.
_FILE_MESSAGES, _FILE_ENUMS, _FILE_SERVICES = 4, 5, 6
_MESSAGE_FIELDS, _MESSAGE_NESTED, _ENUM_VALUES, _SERVICE_METHODS = 2, 3, 2, 2

Place = tuple[int, ...]
_HTTP: Any = annotations_pb2.http  # its stub does not say what it extends


@cache
def reference(path: Path = REPOSITORY / "gen" / "forge.binpb") -> Reference:
    """The reference of the contract in a descriptor set with comments. It is read once."""
    return reference_of(FileDescriptorSet.FromString(path.read_bytes()))


def reference_of(files: FileDescriptorSet) -> Reference:
    """What keys may call, what that takes and answers, and the reasons of errors."""
    ours = [_File(file) for file in files.file if file.package.startswith(_PUBLIC_PACKAGE)]
    known = {name: (file, message, path) for file in ours for name, message, path in file.messages()}
    reading = _Reading(known)
    services = tuple(service for file in ours for service in reading.services(file))
    reasons = tuple(reason for file in ours for reason in _reasons(file))
    return Reference(services, dict(sorted(reading.found.items())), reasons)


class _File:
    """A file with the comments of its parts by their paths."""

    def __init__(self, proto: FileDescriptorProto) -> None:
        self.proto = proto
        self._comments = {
            tuple(found.path): _plain(found.leading_comments)
            for found in proto.source_code_info.location
            if found.leading_comments
        }

    def comment(self, path: Place) -> str:
        return self._comments.get(path, "")

    def messages(self) -> Iterator[tuple[str, DescriptorProto, Place]]:
        """Every message with its full name, nested ones too."""
        waiting: list[tuple[str, DescriptorProto, Place]] = [
            (f"{self.proto.package}.{message.name}", message, (_FILE_MESSAGES, number))
            for number, message in enumerate(self.proto.message_type)
        ]
        while waiting:
            name, message, path = waiting.pop()
            yield name, message, path
            waiting.extend(
                (f"{name}.{nested.name}", nested, (*path, _MESSAGE_NESTED, number))
                for number, nested in enumerate(message.nested_type)
            )


class _Reading:
    """Reads services, and on the way the messages they lead to."""

    def __init__(self, known: Mapping[str, tuple[_File, DescriptorProto, Place]]) -> None:
        self._known = known
        self.found: dict[str, Message] = {}

    def services(self, file: _File) -> Iterator[Service]:
        """The services of a file that have calls for keys."""
        for number, service in enumerate(file.proto.service):
            full_name, path = f"{file.proto.package}.{service.name}", (_FILE_SERVICES, number)
            calls = tuple(
                self._call(method, f"{full_name}.{method.name}", file.comment((*path, _SERVICE_METHODS, at)))
                for at, method in enumerate(service.method)
                if _scope(method) in _PUBLIC_SCOPES
            )
            if calls:
                yield Service(service.name, full_name, file.comment(path), calls)

    def _call(self, method: MethodDescriptorProto, full_name: str, comment: str) -> Call:
        rule: HttpRule = method.options.Extensions[_HTTP]
        http_method, http_path = _route(rule)
        return Call(
            name=method.name,
            full_name=full_name,
            comment=comment,
            scope=_scope(method),
            http_method=http_method,
            http_path=http_path,
            request=tuple(
                self._field(found, said, place=place_of(found.name, http_path, rule.body))
                for found, said in self._fields(method.input_type.lstrip("."))
            ),
            response=self._message_type(method.output_type.lstrip(".")),
            is_stream=method.server_streaming,
        )

    def _fields(self, message: str) -> Iterator[tuple[FieldDescriptorProto, str]]:
        file, proto, path = self._known[message]
        for number, field in enumerate(proto.field):
            yield field, file.comment((*path, _MESSAGE_FIELDS, number))

    def _field(self, field: FieldDescriptorProto, comment: str, *, place: str = "") -> Field:
        return Field(field.name, self._type(field), comment, place, field.proto3_optional)

    def _type(self, field: FieldDescriptorProto) -> Type:
        is_list = field.label == FieldDescriptorProto.LABEL_REPEATED
        if field.type != FieldDescriptorProto.TYPE_MESSAGE:
            scalar = _SCALARS.get(field.type, field.type_name.rpartition(".")[2])
            return Type(f"list of {scalar}" if is_list else scalar)
        name = field.type_name.lstrip(".")
        entry = self._known.get(name)
        if entry is not None and entry[1].options.map_entry:
            key, value = (self._type(part) for part in entry[1].field)
            return Type(f"map of {key.text} to {value.text}", value.message)
        one = self._message_type(name)
        return Type(f"list of {one.text}" if is_list else one.text, one.message)

    def _message_type(self, name: str) -> Type:
        if name not in self._known:
            return Type(_WELL_KNOWN.get(name, name))
        if name not in self.found:
            file, _, path = self._known[name]
            self.found[name] = Message(name, file.comment(path), ())  # first: messages may contain themselves
            fields = tuple(self._field(found, said) for found, said in self._fields(name))
            self.found[name] = Message(name, file.comment(path), fields)
        return Type(name.rpartition(".")[2], name)


def _reasons(file: _File) -> Iterator[Reason]:
    name, prefix = _REASONS
    for number, enum in enumerate(file.proto.enum_type):
        if f"{file.proto.package}.{enum.name}" != name:
            continue
        for at, value in enumerate(enum.value):
            if value.number:
                comment = file.comment((_FILE_ENUMS, number, _ENUM_VALUES, at))
                yield Reason(value.name.removeprefix(prefix), comment)


def _scope(method: MethodDescriptorProto) -> str:
    return method.options.Extensions[access_pb2.required_scope]


def _route(rule: HttpRule) -> tuple[str, str]:
    """Method and path of a REST route; both empty for a call that has none."""
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
