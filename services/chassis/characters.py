"""The one character that no text of a request may hold: U+0000, for which PostgreSQL has no place."""

from collections.abc import Iterator, Mapping, Sequence

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from services.chassis.errors import InvalidInput, Violation

_NUL = "\0"
_REMEDY = "must not hold the character U+0000; leave it out"


def check_characters(request: Message, data: bytes) -> None:
    """Raise InvalidInput that names every field of a request whose text holds U+0000; `data` is the request's bytes."""
    if b"\0" in data and (fields := sorted(set(_fields(request, "")))):
        raise InvalidInput([Violation(field, _REMEDY) for field in fields])


def _fields(value: object, path: str) -> Iterator[str]:
    if isinstance(value, str):
        if _NUL in value:
            yield path
    elif isinstance(value, Mapping):  # which a Struct is as well
        for key, each in value.items():
            name = _joined(path, str(key).replace(_NUL, "\N{REPLACEMENT CHARACTER}"))
            yield from _fields(key, name)
            yield from _fields(each, name)
    elif isinstance(value, Message) and not isinstance(value, Sequence):
        for field, each in value.ListFields():
            is_body = isinstance(each, Struct) and not path  # its fields are written without the one that holds it
            yield from _fields(each, "" if is_body else _joined(path, field.name))
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for number, each in enumerate(value):
            yield from _fields(each, f"{path}[{number}]")


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
