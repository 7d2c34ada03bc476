"""The form of a version's inputs, from its input schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# People think of these first, in this order; a schema has none.
_FIRST = (
    "prompt",
    "image",
    "negative_prompt",
    "width",
    "height",
    "num_frames",
    "fps",
    "num_inference_steps",
    "guidance_scale",
    "seed",
)
_LONG_TEXT = 200  # characters; what may be longer gets more than a line


@dataclass(frozen=True)
class Field:
    """One input as a control of the form."""

    name: str
    title: str
    kind: str
    """One of: image, choice, switch, integer, number, long_text, text."""
    help: str
    unit: str
    value: Any
    """What the control holds at first: the example's value; None for an empty one, which leaves the input out."""
    placeholder: str
    is_required: bool
    is_main: bool
    """Whether it is required or part of the example; the others are folded away."""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    max_length: int | None = None
    choices: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()
    ignored: str = ""
    """Why it never has an effect; empty for one that has."""


def fields_of(schema: Mapping[str, Any], example: Mapping[str, Any]) -> list[Field]:
    """The fields of a form, main ones first. `schema` and `example` are those of InputSchema, as JSON."""
    required = set(schema.get("required", ()))
    fields = [_field(name, about, example, required) for name, about in schema.get("properties", {}).items()]
    return sorted(fields, key=lambda field: (not field.is_main, bool(field.ignored), _place(field.name), field.title))


def rules_of(schema: Mapping[str, Any]) -> list[str]:
    """The rules over several inputs in words, each led by the titles of what it is about."""
    titles = {name: about.get("title", name) for name, about in schema.get("properties", {}).items()}
    return [f"{titles.get(rule['fields'][0], '')} {rule['text']}." for rule in schema.get("x-forge-rules", ())]


def _field(name: str, about: Mapping[str, Any], example: Mapping[str, Any], required: set[str]) -> Field:
    default = about.get("default")
    return Field(
        name=name,
        title=about.get("title", name),
        kind=_kind(about),
        help=about.get("description", ""),
        unit=about.get("x-forge-unit", ""),
        value=_whole(example.get(name)),
        placeholder="" if default in (None, "") else str(_whole(default)),
        is_required=name in required,
        is_main=name in required or name in example,
        minimum=_whole(about.get("minimum")),
        maximum=_whole(about.get("maximum")),
        step=_whole(about.get("multipleOf")),
        max_length=about.get("maxLength"),
        choices=tuple(about.get("enum", ())),
        media_types=tuple(about.get("x-forge-media-types", ())),
        ignored=about.get("x-forge-ignored", ""),
    )


def _kind(about: Mapping[str, Any]) -> str:
    if about.get("x-forge-media") == "image":
        return "image"
    if "enum" in about:
        return "choice"
    match about.get("type"):
        case "boolean":
            return "switch"
        case "integer" | "number" as number:
            return number
        case _:
            return "long_text" if about.get("maxLength", 0) > _LONG_TEXT else "text"


def _place(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _whole(value: Any) -> Any:
    """Whole numbers without a point, as people write them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
