"""The contract's reference in the words of its readers, made of its files and their comments."""

from collections.abc import Iterator
from functools import cache

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from services.web.adapters.contract_files import ContractFiles, ContractMethod, Route, contract_files
from services.web.domain.reference import Call, Field, Message, Reason, Reference, Service, Type, place_of

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


@cache
def reference() -> Reference:
    """What keys may call, what that takes and answers, and the reasons of errors."""
    return reference_of(contract_files())


def reference_of(files: ContractFiles) -> Reference:
    """The reference of these files."""
    reading = _Reading(files)
    services = tuple(
        Service(
            service.proto.name,
            service.full_name,
            service.comment,
            tuple(reading.call(method) for method in service.methods),
        )
        for service in files.services
    )
    reasons = tuple(Reason(name, comment) for name, comment in files.reasons)
    return Reference(services, dict(sorted(reading.found.items())), reasons)


class _Reading:
    """Reads calls, and on the way the messages they lead to."""

    def __init__(self, files: ContractFiles) -> None:
        self._known = files.messages
        self.found: dict[str, Message] = {}

    def call(self, method: ContractMethod) -> Call:
        route = next(iter(method.routes), Route("", "", ""))
        return Call(
            name=method.proto.name,
            full_name=method.full_name,
            comment=method.comment,
            scope=method.scope,
            http_method=route.method,
            http_path=route.path,
            request=tuple(
                self._field(found, said, place=place_of(found.name, route.path, route.body))
                for found, said in self._fields(method.input_name)
            ),
            response=self._message_type(method.output_name),
            is_stream=method.proto.server_streaming,
        )

    def _fields(self, message: str) -> Iterator[tuple[FieldDescriptorProto, str]]:
        found = self._known[message]
        yield from zip(found.proto.field, found.field_comments, strict=True)

    def _field(self, field: FieldDescriptorProto, comment: str, *, place: str = "") -> Field:
        return Field(field.name, self._type(field), comment, place, field.proto3_optional)

    def _type(self, field: FieldDescriptorProto) -> Type:
        is_list = field.label == FieldDescriptorProto.LABEL_REPEATED
        if field.type != FieldDescriptorProto.TYPE_MESSAGE:
            scalar = _SCALARS.get(field.type, field.type_name.rpartition(".")[2])
            return Type(f"list of {scalar}" if is_list else scalar)
        name = field.type_name.lstrip(".")
        entry = self._known.get(name)
        if entry is not None and entry.proto.options.map_entry:
            key, value = (self._type(part) for part in entry.proto.field)
            return Type(f"map of {key.text} to {value.text}", value.message)
        one = self._message_type(name)
        return Type(f"list of {one.text}" if is_list else one.text, one.message)

    def _message_type(self, name: str) -> Type:
        if name not in self._known:
            return Type(_WELL_KNOWN.get(name, name))
        if name not in self.found:
            comment = self._known[name].comment
            self.found[name] = Message(name, comment, ())  # first: messages may contain themselves
            fields = tuple(self._field(found, said) for found, said in self._fields(name))
            self.found[name] = Message(name, comment, fields)
        return Type(name.rpartition(".")[2], name)
