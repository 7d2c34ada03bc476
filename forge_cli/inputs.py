"""An inference body from what was typed: values get the types that the model's input schema gives its fields."""

import base64
import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from forge_cli.failures import INVALID_ARGUMENT, CommandFailed

ROUTING_FIELDS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "model": {"type": "string"},
        "model_version": {"type": "string"},
        "gpu_type": {"type": "string"},
        "region": {"type": "string"},
        "request_id": {"type": "string"},
        "priority": {"type": "string"},
        "prefer": {"type": "string"},
        "max_cost_usd": {"type": "number"},
        "finish_within_seconds": {"type": "number"},
        "deadline": {"type": "string"},
        "pause_after_step": {"type": "integer"},
        "on_out_of_memory": {"type": "string"},
    }
)
"""Fields of the body that say how to run, not what, and their types; a schema need not list them."""

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def build_inputs(
    schema: Mapping[str, Any], parameters: Iterable[str], image: Path | str | None, *, slug: str, is_whole: bool = True
) -> dict[str, Any]:
    """The model's inputs from "name=value" pairs and an image, a file or its URI; not `is_whole`, only what changes.

    CommandFailed lists every pair that cannot be read, every name the schema does not know, and every required field
    that is missing from a whole.
    """
    properties: Mapping[str, Any] = schema.get("properties", {})
    inputs: dict[str, Any] = {}
    wrong: list[str] = []
    for parameter in parameters:
        name, equals, text = parameter.partition("=")
        if not (equals and name):
            wrong.append(f"{parameter!r} is not written as name=value")
            continue
        if name in inputs:
            wrong.append(f"{name} is given twice")
            continue
        if name not in properties and name not in ROUTING_FIELDS:
            meant = closest(name, properties)
            wrong.append(f"{name} is not an input of this version" + (f"; did you mean {meant}?" if meant else ""))
            continue
        try:
            inputs[name] = parse_value(text, properties[name] if name in properties else ROUTING_FIELDS[name])
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    if image is not None:
        field = image_field(properties)
        if field is None:
            wrong.append(f"--image: {slug} takes no image")
        elif field in inputs:
            wrong.append(f"{field} is given by both -p and --image")
        else:
            inputs[field] = data_uri(image) if isinstance(image, Path) else image
    required = schema.get("required", ()) if is_whole else ()
    missing = [name for name in required if name not in inputs and name not in ROUTING_FIELDS]
    wrong += [f"{name} is required: {_how_to_give(name, properties)}" for name in missing if not _named(name, wrong)]
    if wrong:
        raise CommandFailed(
            "the inputs cannot be used",
            facts=wrong,
            hints=[f"see the inputs and an example with: forge model {slug}"],
            code=INVALID_ARGUMENT,
        )
    return inputs


def parse_value(text: str, field_schema: Mapping[str, Any]) -> Any:
    """`text` as a value of the field's type. ValueError says what was expected."""
    types = _types(field_schema)
    if "null" in types and text == "null":
        return None
    # The narrower type first: "7" for a field of integer or string is the number.
    if "integer" in types and _is_integer(text):
        return int(text)
    if "number" in types:
        try:
            return float(text)
        except ValueError:
            pass
    if "boolean" in types and text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    if {"array", "object"} & types:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            pass
    if "string" in types or not types:
        return text
    expected = " or ".join(_EXPECTED[name] for name in sorted(types - {"null"}))
    options = field_schema.get("enum")
    raise ValueError(f"must be {expected}{f', one of {options}' if options else ''}; got {text!r}")


_EXPECTED = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a JSON array",
    "object": "a JSON object",
}


def image_field(properties: Mapping[str, Any]) -> str | None:
    """The field that takes an image, as its schema says."""
    for name, field_schema in properties.items():
        if field_schema.get("x-forge-media") == "image":
            return name
    return None


def data_uri(path: Path) -> str:
    """The file as a `data:` URI."""
    media_type, data = read_image(path)
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def read_image(path: Path) -> tuple[str, bytes]:
    """The media type of an image file, by its first bytes and not by its name, and all its bytes. CommandFailed."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CommandFailed(f"cannot read {path}: {error.strerror}") from error
    media_type = sniff(data)
    if media_type is None:
        raise CommandFailed(f"{path} is no image of a known kind", hints=["use PNG, JPEG, WebP or PPM"])
    return media_type, data


def sniff(data: bytes) -> str | None:
    """Media type of an image by its first bytes; None for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[:2] in (b"P3", b"P6") and data[2:3].isspace():
        return "image/x-portable-pixmap"
    return None


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def _types(field_schema: Mapping[str, Any]) -> frozenset[str]:
    given = field_schema.get("type")
    types = {given} if isinstance(given, str) else set(given or ())
    for option in (*field_schema.get("anyOf", ()), *field_schema.get("oneOf", ())):
        types |= _types(option)
    if not types:
        types = {_TYPE_NAMES[type(value)] for value in field_schema.get("enum", ()) if type(value) in _TYPE_NAMES}
    return frozenset(types)


_TYPE_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number"}


def _is_integer(text: str) -> bool:
    digits = text[1:] if text[:1] in "+-" else text
    return digits.isascii() and digits.isdigit()


def _how_to_give(name: str, properties: Mapping[str, Any]) -> str:
    return "give --image FILE" if name == image_field(properties) else f"give -p {name}=…"


def _named(name: str, wrong: Iterable[str]) -> bool:
    return any(line.startswith((f"{name}:", f"{name} ")) for line in wrong)
