"""What an input schema and its example must be like: JSON Schema 2020-12, narrowed to what every consumer honours."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from services.catalog.domain import EFFECT_ARITIES, ROUTING_FIELDS, RULE_ARITIES
from services.chassis.json_schema import Draft202012Validator, SchemaError

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LARGEST_EXACT_INTEGER = 2**53  # JSON and Struct carry numbers as doubles

_ROOT_KEYWORDS = frozenset(
    {"$schema", "type", "additionalProperties", "required", "properties", "x-forge-rules", "x-forge-effects"}
)
_PROPERTY_KEYWORDS = frozenset(
    {
        *("type", "title", "description", "default", "enum"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "pattern"),
        *("x-forge-unit", "x-forge-maps-to", "x-forge-ignored", "x-forge-branchable"),
        *("x-forge-media", "x-forge-media-types", "x-forge-media-forms"),
    }
)
_UNITS = frozenset({"px", "frames", "latent frames", "frames/s", "steps"})
_MEDIA_FORMS = frozenset({"data-uri", "upload", "url"})

Fault = tuple[list[str | int], str]
"""Where, and what is wrong there."""


def faults(schema: Mapping[str, Any]) -> Iterator[Fault]:
    """All that is wrong with an input schema; when it is no JSON Schema at all, only that."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        yield list(error.absolute_path), error.message
        return
    yield from _number_faults(schema, [])
    yield from _keyword_faults(schema, _ROOT_KEYWORDS, [])
    for keyword, wanted in (("$schema", DIALECT), ("type", "object"), ("additionalProperties", False)):
        if schema.get(keyword) != wanted:
            yield [keyword], f"must be {str(wanted).lower()}"
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    for index, name in enumerate(required):
        if name not in properties:
            yield ["required", index], f"'{name}' is no property"
    for name, keywords in properties.items():
        for location, message in _property_faults(name, keywords, is_required=name in required):
            yield ["properties", name, *location], message
    for keyword, arities in (("x-forge-rules", RULE_ARITIES), ("x-forge-effects", EFFECT_ARITIES)):
        for location, message in _rule_faults(schema.get(keyword, []), arities, properties):
            yield [keyword, *location], message


def example_faults(schema: Mapping[str, Any], example: Mapping[str, Any]) -> Iterator[Fault]:
    """All that is wrong with the inputs of an example request body; `schema` must be without faults."""
    yield from _number_faults(example, [])
    inputs = {name: value for name, value in example.items() if name not in ROUTING_FIELDS}
    for error in Draft202012Validator(schema).iter_errors(inputs):
        yield list(error.absolute_path), error.message


def _property_faults(name: str, keywords: Mapping[str, Any], *, is_required: bool) -> Iterator[Fault]:
    if name in ROUTING_FIELDS:
        yield [], "is the name of a routing field"
    if not isinstance(keywords, Mapping):
        yield [], "must be a mapping"
        return
    yield from _keyword_faults(keywords, _PROPERTY_KEYWORDS, [])
    for keyword in ("type", "title", "description"):
        if not isinstance(keywords.get(keyword), str):
            yield [keyword], "is required"
    if "default" in keywords:
        if is_required:
            yield ["default"], "a required input has no default"
        for error in Draft202012Validator(keywords).iter_errors(keywords["default"]):
            yield ["default"], error.message
    if keywords.get("x-forge-unit", "px") not in _UNITS:
        yield ["x-forge-unit"], f"must be one of {', '.join(sorted(_UNITS))}"
    if ("x-forge-media" in keywords) != ("x-forge-media-types" in keywords):
        yield [], "x-forge-media and x-forge-media-types go together"
    if "x-forge-media-forms" in keywords and "x-forge-media" not in keywords:
        yield ["x-forge-media-forms"], "is for inputs with x-forge-media"
    if keywords.get("x-forge-media", "image") != "image":
        yield ["x-forge-media"], "must be image"
    media_types = keywords.get("x-forge-media-types", [])
    if not isinstance(media_types, list) or not all(isinstance(each, str) for each in media_types):
        yield ["x-forge-media-types"], "must be a list of media types"
    forms = keywords.get("x-forge-media-forms", [])
    if not isinstance(forms, list) or not _MEDIA_FORMS.issuperset(map(str, forms)):
        yield ["x-forge-media-forms"], f"must be a list of some of {', '.join(sorted(_MEDIA_FORMS))}"
    if not isinstance(keywords.get("x-forge-branchable", True), bool):
        yield ["x-forge-branchable"], "must be true or false"
    for keyword in ("x-forge-maps-to", "x-forge-ignored"):
        if not isinstance(keywords.get(keyword, ""), str):
            yield [keyword], "must be text"


def _rule_faults(rules: Any, arities: Mapping[str, int], properties: Mapping[str, Any]) -> Iterator[Fault]:
    if not isinstance(rules, list):
        yield [], "must be a list"
        return
    for index, rule in enumerate(rules):
        if not isinstance(rule, Mapping) or set(rule) != {"kind", "fields", "text"}:
            yield [index], "must have kind, fields and text, and nothing else"
            continue
        kind, fields, text = rule["kind"], rule["fields"], rule["text"]
        if not isinstance(text, str) or not text:
            yield [index, "text"], "must be text"
        if kind not in arities:
            yield [index, "kind"], f"must be one of {', '.join(arities)}"
        elif not isinstance(fields, list) or len(fields) != arities[kind]:
            yield [index, "fields"], f"{kind} needs a list of {arities[kind]}"
        else:
            for position, field in enumerate(fields):
                if field not in properties:
                    yield [index, "fields", position], f"'{field}' is no property"


def _keyword_faults(keywords: Mapping[str, Any], known: frozenset[str], at: list[str | int]) -> Iterator[Fault]:
    for keyword in keywords:
        if keyword not in known:
            yield [*at, keyword], "is no keyword of input schemas"


def _number_faults(value: Any, at: list[str | int]) -> Iterator[Fault]:
    """Numbers that would not arrive as they were written."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _number_faults(each, [*at, key])
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _number_faults(each, [*at, index])
    elif isinstance(value, float) and not math.isfinite(value):
        yield at, "must be a finite number"
    elif isinstance(value, int) and abs(value) > LARGEST_EXACT_INTEGER:
        yield at, "is too large to arrive exactly"
    elif not isinstance(value, str | int | float | bool | None):
        yield at, "must be text, a number, true or false; quote it"
