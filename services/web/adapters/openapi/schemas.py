"""Messages of the contract as JSON Schemas, in the form that the edge gives them."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from services.web.adapters.contract_files import ContractFiles

Schema = dict[str, Any]

_Kind = FieldDescriptorProto
_TEXT: Schema = {"type": "string"}
_SCALARS: Mapping[int, Schema] = {
    _Kind.TYPE_STRING: _TEXT,
    _Kind.TYPE_BOOL: {"type": "boolean"},
    _Kind.TYPE_FLOAT: {"type": "number", "format": "float"},
    _Kind.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _Kind.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
_INTEGERS_32 = {_Kind.TYPE_INT32, _Kind.TYPE_SINT32, _Kind.TYPE_SFIXED32}
_INTEGERS_U32 = {_Kind.TYPE_UINT32, _Kind.TYPE_FIXED32}
_INTEGERS_64 = {_Kind.TYPE_INT64, _Kind.TYPE_SINT64, _Kind.TYPE_SFIXED64}
_INTEGERS_U64 = {_Kind.TYPE_UINT64, _Kind.TYPE_FIXED64}
_WELL_KNOWN: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?s$", "examples": ["3.5s"]},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array"},
    "google.protobuf.Empty": {"type": "object"},
    "google.protobuf.Any": {"type": "object", "required": ["@type"], "properties": {"@type": _TEXT}},
}


class Schemas:
    """Schemas of messages. `found` has those that were asked for and what they are made of, by full name."""

    def __init__(self, files: ContractFiles) -> None:
        self._files = files
        self.found: dict[str, Schema] = {}

    def answer(self, full_name: str) -> Schema:
        """What is answered where a message is: all that is always there is required."""
        if full_name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[full_name])
        if full_name not in self.found:
            self.found[full_name] = {}  # first: messages may contain themselves
            self.found[full_name] = self._message(full_name)
        return reference_to(full_name)

    def question(self, full_name: str, names: Iterable[str]) -> Schema:
        """A body of these fields of a request. None is required: what is left out has its default."""
        wanted, message = set(names), self._files.messages[full_name]
        described = zip(message.proto.field, message.field_comments, strict=True)
        properties = {
            found.name: self.field(found, said, is_asked=True) for found, said in described if found.name in wanted
        }
        return {"type": "object", "properties": properties}

    def field(self, field: FieldDescriptorProto, comment: str, *, is_asked: bool) -> Schema:
        """What a field holds. Requests may give numbers of 64 bits as numbers too."""
        schema = self._value(field, is_asked=is_asked)
        return schema | {"description": comment} if comment else schema

    def _value(self, field: FieldDescriptorProto, *, is_asked: bool) -> Schema:
        if field.type != _Kind.TYPE_MESSAGE:
            return _listed(field, self._scalar(field, is_asked=is_asked))
        name = field.type_name.lstrip(".")
        entry = self._files.messages.get(name)
        if entry is not None and entry.proto.options.map_entry:
            return {
                "type": "object",
                "additionalProperties": self.field(entry.proto.field[1], "", is_asked=is_asked),
            }
        if is_asked and name not in _WELL_KNOWN:
            names = [each.name for each in self._files.messages[name].proto.field]
            return _listed(field, self.question(name, names))
        return _listed(field, self.answer(name))

    def _scalar(self, field: FieldDescriptorProto, *, is_asked: bool) -> Schema:
        if field.type == _Kind.TYPE_ENUM:
            values = self._files.enums[field.type_name.lstrip(".")].proto.value
            return {"type": "string", "enum": [value.name for value in values]}
        if field.type in _INTEGERS_32:
            return {"type": "integer", "format": "int32"}
        if field.type in _INTEGERS_U32:
            return {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
        if field.type in _INTEGERS_64 | _INTEGERS_U64:
            sign = "-?" if field.type in _INTEGERS_64 else ""
            return {"type": ["string", "integer"] if is_asked else "string", "pattern": rf"^{sign}\d+$"}
        return dict(_SCALARS[field.type])

    def _message(self, full_name: str) -> Schema:
        message = self._files.messages[full_name]
        described = list(zip(message.proto.field, message.field_comments, strict=True))
        schema: Schema = {
            "title": message.proto.name,
            "type": "object",
            "description": message.comment,
            "properties": {found.name: self.field(found, said, is_asked=False) for found, said in described},
        }
        if always := [found.name for found, _ in described if _is_always_there(found)]:
            schema["required"] = always
        if choices := _choices(message.proto):
            schema["allOf"] = [_at_most_one(names) for names in choices]
        return schema


def reference_to(full_name: str) -> Schema:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{full_name}"}


def _listed(field: FieldDescriptorProto, one: Schema) -> Schema:
    return {"type": "array", "items": one} if field.label == _Kind.LABEL_REPEATED else one


def _is_always_there(field: FieldDescriptorProto) -> bool:
    """Whether answers have the field whatever it holds. Messages and optional values may be absent."""
    if field.label == _Kind.LABEL_REPEATED:
        return True
    return field.type != _Kind.TYPE_MESSAGE and not field.HasField("oneof_index")


def _choices(message: DescriptorProto) -> list[list[str]]:
    """The fields of each oneof; an optional field is in one of its own, which says nothing here."""
    chosen = [field for field in message.field if field.HasField("oneof_index") and not field.proto3_optional]
    by_oneof = itertools.groupby(sorted(chosen, key=lambda field: field.oneof_index), lambda field: field.oneof_index)
    return [[field.name for field in fields] for _, fields in by_oneof]


def _at_most_one(names: list[str]) -> Schema:
    present = [{"required": [name]} for name in names]
    return {"oneOf": [*present, {"not": {"anyOf": present}}]}
