"""Checks inputs with JSON Schema, in words of our own: the library's quote the input, which may be a private image."""

from collections.abc import Mapping
from typing import Any

from services.chassis.errors import Violation
from services.chassis.json_schema import Draft202012Validator, ValidationError

_TYPE_WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a string",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}

_RANKS = {"type": 0, "multipleOf": 2}  # a schema that came over the wire has no order of its own


class JsonSchemaChecker:
    """Checks each input against the schema of its property; the first problem of each is reported.

    Of an image only that it is a text: what it must be beyond that is no matter of a schema.
    """

    def check(self, properties: Mapping[str, Mapping[str, Any]], inputs: Mapping[str, Any]) -> list[Violation]:
        """A violation for each input that is wrong."""
        violations = []
        for name, value in inputs.items():
            if value is None:
                continue  # null means left out
            is_image = properties[name].get("x-forge-media") == "image"
            problem = None if is_image and isinstance(value, str) else _first_problem(properties[name], value)
            if problem is not None:
                violations.append(Violation(name, problem))
        return violations


def _first_problem(schema: Mapping[str, Any], value: Any) -> str | None:
    errors = sorted(Draft202012Validator(schema).iter_errors(value), key=lambda error: _RANKS.get(error.validator, 1))
    return _words(errors[0], schema) if errors else None


def _whole(value: Any) -> Any:
    """Whole numbers without a point: the wire knows floats only."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _words(error: ValidationError, schema: Mapping[str, Any]) -> str:
    unit = f" {schema['x-forge-unit']}" if "x-forge-unit" in schema else ""
    wanted: Any = _whole(error.validator_value)
    match error.validator:
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            return "must be " + " or ".join(_TYPE_WORDS[kind] for kind in kinds)
        case "minimum":
            return f"must be at least {wanted}{unit}"
        case "maximum":
            return f"must be at most {wanted}{unit}"
        case "exclusiveMinimum":
            return f"must be more than {wanted}{unit}"
        case "exclusiveMaximum":
            return f"must be less than {wanted}{unit}"
        case "multipleOf":
            return f"must be a multiple of {wanted}{unit}"
        case "minLength":
            return "must not be empty" if wanted == 1 else f"must have at least {wanted} characters"
        case "maxLength":
            return f"must have at most {wanted} characters"
        case "enum":
            return f"must be one of: {', '.join(map(str, wanted))}"
        case _:
            return "is not valid: see the input schema of the version"
