"""Values that JSON and protobuf can hold and that a service may not expect."""

import json
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value

_TEXTS = (
    "",
    "a",
    "0",
    "-1",
    "1e400",
    "null",
    "NaN",
    "true",
    "é" * 40,
    "\u202e",
    "\x00",
    "a\nb",
    "'; drop table renders; --",
    "../../etc/passwd",
    "%00%ff",
    "x" * 300,
    "x" * 9_000,
    "🎬" * 100,
    "data:image/png;base64,",
    "data:image/png;base64,AAAA",
    "http://169.254.169.254/",
    "file:///etc/passwd",
    "forge_local_x",
    "2026-13-45T99:99:99Z",
    "-1s",
    "9999999999999s",
    "${jndi:ldap://x}",
    "{{7*7}}",
)
_NUMBERS = (
    "0",
    "-0",
    "1",
    "-1",
    "0.1",
    "1e308",
    "1e309",
    "-1e309",
    "1e-400",
    "9007199254740993",
    "18446744073709551616",
    "-9223372036854775809",
    "9" * 400,
    "NaN",
    "Infinity",
    "-Infinity",
    "0x10",
    "01",
    "1.",
    ".5",
    "1e",
    "25.000000000000001",
)
_RAW_STRINGS = ('"\\ud800"', '"\\u0000"', '"\\x"', '"a', '"\t"', "'a'", '"\\udc00\\ud800"')
_FLOATS = (0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1e308, 5e-324, -1.0, 2.0**53 + 1, 1e19)
_DEPTHS = (3, 20, 40, 90, 150)


def json_text(luck: Random, depth: int = 0) -> str:
    """A value as JSON, or as what is almost JSON."""
    match luck.randrange(12 if depth < 4 else 7):
        case 0 | 1:
            return json.dumps(luck.choice(_TEXTS), ensure_ascii=luck.random() < 0.5)
        case 2 | 3:
            return luck.choice(_NUMBERS)
        case 4:
            return luck.choice(("true", "false", "null", "nul", "undefined", ""))
        case 5:
            return luck.choice(_RAW_STRINGS)
        case 6:
            levels = luck.choice(_DEPTHS)
            return luck.choice(('{"a":' * levels + "1" + "}" * levels, "[" * levels + "]" * levels, "[" * levels))
        case 7 | 8:
            return "[" + ",".join(json_text(luck, depth + 1) for _ in range(luck.randrange(5))) + "]"
        case _:
            return json_object(luck, [luck.choice(_TEXTS) for _ in range(luck.randrange(4))], depth + 1)


def json_object(luck: Random, names: list[str], depth: int = 0) -> str:
    """An object with these fields, some of them twice."""
    names = [name for name in names for _ in range(1 + (luck.random() < 0.05))]
    return "{" + ",".join(f"{json.dumps(name)}:{json_text(luck, depth + 1)}" for name in names) + "}"


def fill(message: Message, luck: Random, depth: int = 0) -> None:
    """Put something into some of the fields of a message."""
    if isinstance(message, Struct | Value):
        return _fill_struct(message, luck)
    for field in message.DESCRIPTOR.fields:
        if luck.random() < 0.4 or depth > 3:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        _fill_field(message, field, luck, depth)
    return None


def _fill_field(message: Message, field: Any, luck: Random, depth: int) -> None:
    if field.message_type is not None:
        inner = getattr(message, field.name)
        if field.is_repeated:
            inner = inner.add()
        else:
            inner.SetInParent()
        fill(inner, luck, depth + 1)
    elif field.is_repeated:
        getattr(message, field.name).extend(_scalar(field, luck) for _ in range(luck.choice((1, 2, 300))))
    else:
        setattr(message, field.name, _scalar(field, luck))


def _fill_struct(message: Any, luck: Random) -> None:
    """JSON as messages, deeper than JSON itself may come, and with numbers that JSON does not have."""
    value = message.fields[luck.choice(_TEXTS)] if isinstance(message, Struct) else message
    for _ in range(luck.choice((0, 1, 30, 60, 100))):
        value = value.struct_value.fields["a"] if luck.random() < 0.5 else value.list_value.values.add()
    if luck.random() < 0.5:
        value.number_value = luck.choice(_FLOATS)
    else:
        value.string_value = luck.choice(_TEXTS)


def _scalar(field: Any, luck: Random) -> Any:
    bits = 32 if field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32) else 64
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            text = luck.choice(_TEXTS)
            return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
        case FieldDescriptor.CPPTYPE_BOOL:
            return luck.random() < 0.5
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return luck.choice(_FLOATS[:5])
        case FieldDescriptor.CPPTYPE_ENUM:
            return luck.choice((0, 1, 77, -1, 2**31 - 1))
        case FieldDescriptor.CPPTYPE_UINT32 | FieldDescriptor.CPPTYPE_UINT64:
            return luck.choice((0, 1, 2**bits - 1))
        case _:
            return luck.choice((0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))))
