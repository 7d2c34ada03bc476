"""JSON Schema without formats, which no schema here is checked for: building the grammar of one takes a second."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OPTIONAL = ("rfc3987_syntax", "isoduration")
"""What jsonschema imports for formats, wherever it is installed, and does without where it is not."""


@contextmanager
def _as_if_missing(*names: str) -> Iterator[None]:
    """Importing one of these fails while the block runs, unless that was done before."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # pyright: ignore[reportArgumentType, reportCallIssue] — None is a no
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _as_if_missing(*_OPTIONAL):
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, ValidationError

__all__ = ["Draft202012Validator", "SchemaError", "ValidationError"]
