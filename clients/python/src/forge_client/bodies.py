"""Bodies that are one free object."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2


def as_struct(body: Mapping[str, Any]) -> struct_pb2.Struct:
    """An inference body as requests have it. Numbers become floating point, as in JSON. Raises ValueError."""
    struct = struct_pb2.Struct()
    struct.update(dict(body))
    return struct
