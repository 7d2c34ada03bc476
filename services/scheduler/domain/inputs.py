"""Rules over the inputs of a render that JSON Schema cannot say."""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.chassis.errors import Violation
from services.scheduler.domain.routing import ROUTING_FIELDS

FRAMES_PER_LATENT_FRAME = 4  # both video autoencoders compress time by four


@dataclass(frozen=True)
class Rule:
    """A rule over several fields, as the catalogue states it. `text` says it in words."""

    kind: str
    fields: tuple[str, ...]
    text: str


def unknown_inputs(inputs: Mapping[str, Any], known: Iterable[str]) -> list[Violation]:
    """A violation for each input the version does not have, with the name that was probably meant."""
    names = sorted({*known, *ROUTING_FIELDS})
    violations: list[Violation] = []
    for name in inputs:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else "; leave it out"
            violations.append(Violation(name[:100], f"is not an input of this version{hint}"))
    return violations


def missing_input(name: str, properties: Mapping[str, Mapping[str, Any]]) -> list[Violation]:
    """The violation for a required input that is absent."""
    title = properties.get(name, {}).get("title", "")
    return [Violation(name, f"is required{f': {title}' if title else ''}")]


def not_finite(inputs: Mapping[str, Any]) -> list[Violation]:
    """A violation for each NaN or infinity, at any depth."""
    return [
        Violation(path, "must be a finite number")
        for path, value in _leaves("", inputs)
        if isinstance(value, float) and not math.isfinite(value)
    ]


def broken_rules(rules: Iterable[Rule], inputs: Mapping[str, Any]) -> list[Violation]:
    """A violation for each rule that complete inputs break. Inputs that are absent or not numbers break none."""
    return [Violation(rule.fields[0], rule.text) for rule in rules if not _DEMANDS[rule.kind](rule.fields, inputs)]


def with_defaults(inputs: Mapping[str, Any], properties: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The inputs with what was left out filled in, and whole numbers as int where the schema says integer."""
    defaults = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
    filled = defaults | {name: value for name, value in inputs.items() if value is not None}
    return {
        name: int(value) if _is_integer(properties.get(name, {})) and _is_number(value) else value
        for name, value in filled.items()
    }


def shape_of(inputs: Mapping[str, Any], properties: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The inputs that the work may depend on: numbers, switches and choices. Never a text, a picture or the seed."""
    return {
        name: value
        for name, value in inputs.items()
        if name != "seed" and (isinstance(value, bool | int | float) or "enum" in properties.get(name, {}))
    }


def inputs_without_effect(
    effects: Iterable[Rule],
    given: Mapping[str, Any],
    complete: Mapping[str, Any],
    properties: Mapping[str, Mapping[str, Any]],
) -> tuple[str, ...]:
    """A sentence for each input that was given although it changes nothing, ever or beside the other inputs.

    `effects` say on which other inputs the effect of one depends.
    """
    never = [
        f"'{name}' has no effect: {properties[name]['x-forge-ignored']}"
        for name, value in given.items()
        if value is not None and "x-forge-ignored" in properties.get(name, {})
    ]
    here = [
        f"'{name}' has no effect: {effect.text}"
        for effect in effects
        if given.get(name := effect.fields[0]) is not None
        and given[name] != properties.get(name, {}).get("default")
        and not _EFFECTS[effect.kind](effect.fields, complete)
    ]
    return (*never, *here)


def fixed_inputs(
    before: Mapping[str, Any], after: Mapping[str, Any], properties: Mapping[str, Mapping[str, Any]]
) -> list[Violation]:
    """A violation for each input that differs although a render that has begun cannot change it any more."""
    free = sorted(name for name, schema in properties.items() if schema.get("x-forge-branchable"))
    hint = f"a branch may change: {', '.join(free)}" if free else "no input of this version can change any more"
    return [
        Violation(name, f"cannot change any more; {hint}")
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name) and name not in free
    ]


def _is_integer(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "integer" or (isinstance(kind, list) and "integer" in kind)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _leaves(path: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(f"{path}[{index}]", inner)
    else:
        yield path, value


def _numbers(fields: tuple[str, ...], inputs: Mapping[str, Any]) -> list[float] | None:
    """The values of the fields; None when one is not a number, so that the rule has nothing to say."""
    values: list[Any] = [inputs.get(name) for name in fields]
    return [float(value) for value in values] if all(map(_is_number, values)) else None


def _over_numbers(holds: Callable[..., bool]) -> Callable[[tuple[str, ...], Mapping[str, Any]], bool]:
    def rule(fields: tuple[str, ...], inputs: Mapping[str, Any]) -> bool:
        values = _numbers(fields, inputs)
        return values is None or holds(*values)

    return rule


def _required_when_greater(fields: tuple[str, ...], inputs: Mapping[str, Any]) -> bool:
    needed, left, right = fields
    values = _numbers((left, right), inputs)
    return values is None or values[0] <= values[1] or inputs.get(needed) is not None


def _required_with(fields: tuple[str, ...], inputs: Mapping[str, Any]) -> bool:
    present, needed = fields
    value = inputs.get(present)
    return not (_is_number(value) and value) or inputs.get(needed) is not None


def _is_above(least: float, value: Any) -> bool:
    return _is_number(value) and value > least


def _mode_fits(fields: tuple[str, ...], inputs: Mapping[str, Any]) -> bool:
    mode, lag, block = (inputs.get(field) for field in fields)
    lags, has_blocks = _is_above(0, lag), _is_above(1, block)
    return {"causal": has_blocks, "sync": not lags and not has_blocks, "async_full": lags}.get(str(mode), True)


def _fills_blocks(num_frames: float, block_size: float) -> bool:
    latent_frames = (num_frames - 1) // FRAMES_PER_LATENT_FRAME + 1
    return block_size < 1 or latent_frames % block_size == 0


def _windows_fill_blocks(num_frames: float, window: float, overlap: float, block_size: float) -> bool:
    return num_frames <= window or (_fills_blocks(window, block_size) and _fills_blocks(overlap, block_size))


def _greater(fields: tuple[str, ...], inputs: Mapping[str, Any]) -> bool:
    values = _numbers(fields[1:], inputs)
    return values is None or values[0] > values[1]


def _guided(fields: tuple[str, ...], inputs: Mapping[str, Any]) -> bool:
    values = _numbers(fields[1:], inputs)
    return values is None or values[0] > 1


_Holds = Callable[[tuple[str, ...], Mapping[str, Any]], bool]

# The kinds of `x-forge-rules` and of `x-forge-effects`; `config/models/README.md` says what each means.
_DEMANDS: Mapping[str, _Holds] = {
    "four_k_plus_one": _over_numbers(lambda value: value % FRAMES_PER_LATENT_FRAME == 1),
    "fills_blocks": _over_numbers(_fills_blocks),
    "windows_fill_blocks": _over_numbers(_windows_fill_blocks),
    "at_most_field": _over_numbers(lambda left, right: left <= right),
    "less_than_field": _over_numbers(lambda left, right: left < right),
    "required_when_greater": _required_when_greater,
    "required_with": _required_with,
    "mode_fits": _mode_fits,
}
_EFFECTS: Mapping[str, _Holds] = {
    "when_greater": _greater,
    "when_guided": _guided,
}
