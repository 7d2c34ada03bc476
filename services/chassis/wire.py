"""Values that messages of every service hold: optional fields, moments and JSON."""

from datetime import UTC, datetime
from typing import Any

from google.protobuf import struct_pb2, timestamp_pb2


def present(message: Any, field: str) -> Any:
    """The value of a field, None where it was left out."""
    return getattr(message, field) if message.HasField(field) else None


def timestamp(moment: datetime | None) -> timestamp_pb2.Timestamp | None:
    """A moment; None for none."""
    if moment is None:
        return None
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(moment)
    return message


def moment(message: timestamp_pb2.Timestamp) -> datetime:
    """A moment of the wire."""
    return message.ToDatetime(tzinfo=UTC)


def body(struct: struct_pb2.Struct) -> dict[str, Any]:
    """JSON as Python has it; every number is a float.

    Unlike json_format it keeps NaN and infinities, so that whoever checks them can refuse them by name.
    """
    return {name: _plain(value) for name, value in struct.fields.items()}


def struct(body: Any) -> struct_pb2.Struct:
    """JSON as the wire has it."""
    message = struct_pb2.Struct()
    message.update(body)
    return message


def _plain(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            return value.number_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return body(value.struct_value)
        case "list_value":
            return [_plain(inner) for inner in value.list_value.values]
        case _:
            return None
