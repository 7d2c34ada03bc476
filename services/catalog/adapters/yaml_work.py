"""The work of a version as its file tells it: expressions over its inputs, checked, then turned into a formula."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from services.catalog.adapters import json_schema
from services.catalog.adapters.expressions import Expression, ExpressionInvalid, Value, parse
from services.catalog.domain import ROUTING_FIELDS
from services.catalog.domain.work import Amounts, Work, WorkPart, WorkUnknown
from services.chassis.strict_yaml import StrictShape

SHARE_TOLERANCE = 0.001
_REMEMBERED = 4096

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class PartShape(StrictShape):
    """One of `work`."""

    phase: Literal["encoding", "denoising", "decoding", "muxing", "storing"]
    amount: Text | float
    share: float = Field(gt=0, le=1)


class WorkShape(StrictShape):
    """What a version says of its work; the fields stand beside its others."""

    quantities: dict[Identifier, Text | float] = Field(default={})
    work: list[PartShape] = Field(min_length=1)
    memory: Text | float
    output_seconds: Text | float | None = None
    probe_inputs: list[dict[str, Any]] = Field(min_length=1)

    @property
    def amounts(self) -> Iterator[tuple[list[str | int], str | float]]:
        """Where the expressions are whose values are amounts, and what they are."""
        for index, part in enumerate(self.work):
            yield ["work", index, "amount"], part.amount
        yield ["memory"], self.memory
        if self.output_seconds is not None:
            yield ["output_seconds"], self.output_seconds


@dataclass(frozen=True)
class _Formula:
    """Amounts from inputs; a domain's Formula."""

    inputs: tuple[str, ...]
    quantities: Mapping[str, Expression]
    parts: tuple[Expression, ...]
    memory: Expression
    output_seconds: Expression | None

    def __call__(self, inputs: Mapping[str, Any]) -> Amounts:
        """The amounts of complete inputs. WorkUnknown."""
        names: dict[str, Value] = {name: inputs.get(name) for name in self.inputs}
        try:
            for name, expression in self.quantities.items():
                names[name] = expression.value(names)
            return Amounts(
                tuple(part.amount(names) for part in self.parts),
                memory=self.memory.amount(names),
                output_seconds=None if self.output_seconds is None else self.output_seconds.amount(names),
            )
        except ExpressionInvalid as error:
            raise WorkUnknown(str(error)) from error

    def inputs_behind(self, expressions: tuple[Expression, ...]) -> frozenset[str]:
        """Names of the inputs that the values of some expressions depend on."""
        found, ahead = set[str](), {name for expression in expressions for name in expression.names}
        while ahead:
            name = ahead.pop()
            found.add(name)
            ahead |= (self.quantities[name].names if name in self.quantities else frozenset()) - found
        return frozenset(found & {*self.inputs})


class _Remembered:
    """A formula that remembers what it reckoned of late: a ledger is full of the same shapes."""

    def __init__(self, formula: _Formula) -> None:
        self._formula = formula
        self._reckoned = lru_cache(maxsize=_REMEMBERED)(self._reckon)

    def __call__(self, inputs: Mapping[str, Any]) -> Amounts:
        """The amounts of complete inputs. WorkUnknown."""
        values = tuple(inputs.get(name) for name in self._formula.inputs)
        is_plain = all(isinstance(value, str | int | float | None) for value in values)
        return self._reckoned(values) if is_plain else self._formula(inputs)

    def _reckon(self, values: tuple[Any, ...]) -> Amounts:
        return self._formula(dict(zip(self._formula.inputs, values, strict=True)))


def faults(shape: WorkShape, schema: Mapping[str, Any], example: Mapping[str, Any]) -> Iterator[json_schema.Fault]:
    """All that is wrong with the work of a version whose input schema and example are without faults."""
    total = sum(part.share for part in shape.work)
    if abs(total - 1) > SHARE_TOLERANCE:
        yield ["work"], f"the shares must add up to 1, and add up to {total:g}"
    found = list(_expression_faults(shape, schema, example))
    yield from found
    probes = list(_probe_faults(shape, schema, example))
    yield from probes
    if not found and not probes:
        yield from _cost_faults(shape, schema, example)


def work_of(shape: WorkShape, schema: Mapping[str, Any], example: Mapping[str, Any]) -> Work:
    """The work of a version without faults."""
    numbers, choices = _names(schema)
    quantities: dict[str, Expression] = {}
    for name, text in shape.quantities.items():
        quantities[name] = parse(text, numbers={*numbers, *quantities}, choices=choices)

    def parsed(text: str | float) -> Expression:
        return parse(text, numbers={*numbers, *quantities}, choices=choices)

    formula = _Formula(
        inputs=(*numbers, *choices),
        quantities=quantities,
        parts=tuple(parsed(part.amount) for part in shape.work),
        memory=parsed(shape.memory),
        output_seconds=None if shape.output_seconds is None else parsed(shape.output_seconds),
    )
    defaults = _defaults(schema)
    return Work(
        parts=tuple(WorkPart(part.phase, part.share) for part in shape.work),
        formula=_Remembered(formula),
        example={**defaults, **_inputs(example)},
        defaults=defaults,
        inputs=formula.inputs_behind((*formula.parts, formula.memory)),
    )


def _expression_faults(
    shape: WorkShape, schema: Mapping[str, Any], example: Mapping[str, Any]
) -> Iterator[json_schema.Fault]:
    """One for each expression that is none, or that has no value for the example."""
    numbers, choices = _names(schema)
    known = {*numbers}
    inputs = {**_defaults(schema), **_inputs(example)}
    values: dict[str, Value] = {name: inputs.get(name) for name in (*numbers, *choices)}
    broken = set[str]()
    for name, text in shape.quantities.items():
        location: list[str | int] = ["quantities", name]
        if name in known or name in choices:
            yield location, "is the name of an input"
            continue
        try:
            expression = parse(text, numbers=known, choices=choices)
            if expression.names & broken:
                broken.add(name)
            else:
                values[name] = expression.value(values)
        except ExpressionInvalid as error:
            yield location, str(error)
            broken.add(name)
        known.add(name)
    for location, text in shape.amounts:
        try:
            expression = parse(text, numbers=known, choices=choices)
            if expression.names & broken:
                continue  # told above
            if expression.amount(values) == 0:
                yield location, "must be above 0 for the example"
        except ExpressionInvalid as error:
            yield location, str(error)


def _probe_faults(
    shape: WorkShape, schema: Mapping[str, Any], example: Mapping[str, Any]
) -> Iterator[json_schema.Fault]:
    """Probes that are no valid request together with the example."""
    for index, inputs in enumerate(shape.probe_inputs):
        for name in inputs:
            if name in ROUTING_FIELDS:
                yield ["probe_inputs", index, name], "is the name of a routing field"
        for location, message in json_schema.example_faults(schema, {**example, **inputs}):
            yield ["probe_inputs", index, *location], message


def _cost_faults(
    shape: WorkShape, schema: Mapping[str, Any], example: Mapping[str, Any]
) -> Iterator[json_schema.Fault]:
    """Probes that cost more than they may. All expressions have a value for the example."""
    work = work_of(shape, schema, example)
    costs: list[float] = []
    for index, inputs in enumerate(shape.probe_inputs):
        try:
            amounts = work.of({**_inputs(example), **inputs}).parts
        except WorkUnknown as error:
            yield ["probe_inputs", index], f"has no work: {error}"
            continue
        costs.append(sum(part.share * amount for part, amount in zip(work.parts, amounts, strict=True)))
        if costs[-1] > 1 + SHARE_TOLERANCE:
            yield ["probe_inputs", index], "must not ask for more work than the example"
    if costs and costs[0] > min(costs):
        yield ["probe_inputs", 0], "must ask for the least work of all: fresh runtimes are warmed up with it"


def _names(schema: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Names of the inputs that are numbers or switches, and of those that are choices between words."""
    properties = schema["properties"].items()
    numbers = [name for name, keywords in properties if keywords["type"] in ("integer", "number", "boolean")]
    choices = [name for name, keywords in properties if keywords["type"] == "string" and "enum" in keywords]
    return numbers, choices


def _defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {name: keywords["default"] for name, keywords in schema["properties"].items() if "default" in keywords}


def _inputs(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in ROUTING_FIELDS}
