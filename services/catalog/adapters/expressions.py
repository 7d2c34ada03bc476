"""Expressions of `config/models`: arithmetic over the inputs, evaluated by simpleeval, which could do more."""

import ast
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from simpleeval import DEFAULT_OPERATORS, InvalidExpression, SimpleEval

LONGEST_EXPRESSION = 1000
LARGEST_EXPONENT = 8
LARGEST_BASE = 1e9

Value = float | int | bool | str | None


class ExpressionInvalid(Exception):
    """The expression is none, or has no value; the message says why."""


def _power(base: float, exponent: float) -> float:
    if abs(base) > LARGEST_BASE or abs(exponent) > LARGEST_EXPONENT:
        raise InvalidExpression(f"a power needs a base up to {LARGEST_BASE:g} and an exponent up to {LARGEST_EXPONENT}")
    return base**exponent


_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.USub, ast.UAdd)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot)
_OPERATORS = {kind: DEFAULT_OPERATORS[kind] for kind in (*_ARITHMETIC, *_COMPARISONS, ast.Not)} | {ast.Pow: _power}
_FUNCTIONS = {"min": min, "max": max, "ceil": math.ceil, "abs": abs}
_NODES = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.And, ast.Or, ast.Compare, ast.IfExp, ast.Name)
_ALLOWED = (*_NODES, ast.Call, ast.Constant, ast.Load, *_OPERATORS)


@dataclass(frozen=True)
class Expression:
    """An expression that may be evaluated: it is bounded and can do nothing but compute."""

    text: str
    names: frozenset[str]
    """Names it reads."""
    _tree: ast.expr = field(repr=False, compare=False)

    def value(self, names: Mapping[str, Value]) -> Value:
        """Its value where `names` have these values. ExpressionInvalid when it has none."""
        evaluator = SimpleEval(operators=_OPERATORS, functions=_FUNCTIONS, names=dict(names))
        try:
            return evaluator.eval(self.text, previously_parsed=self._tree)
        except ZeroDivisionError:
            raise ExpressionInvalid("divides by zero") from None
        except RecursionError:
            raise ExpressionInvalid("is nested too deeply") from None
        except (InvalidExpression, ArithmeticError, TypeError, ValueError) as error:
            raise ExpressionInvalid(f"has no value: {error}") from error

    def amount(self, names: Mapping[str, Value]) -> float:
        """Its value as a finite number that is not negative. ExpressionInvalid when it is none."""
        value = self.value(names)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ExpressionInvalid(f"must be a number, is {value!r}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number) or number < 0:
            raise ExpressionInvalid(f"must be a finite number of at least 0, is {number}")
        return number


def parse(text: str | float, *, numbers: Collection[str], choices: Collection[str]) -> Expression:
    """An expression over numbers (and switches) and choices, which are words and only compared. ExpressionInvalid."""
    source = str(text).strip()
    if len(source) > LONGEST_EXPRESSION:
        raise ExpressionInvalid(f"is longer than {LONGEST_EXPRESSION} characters")
    try:
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        raise ExpressionInvalid("is no expression: see config/models/README.md for what one may hold") from None
    compared = {id(side) for node in ast.walk(tree) for side in _compared_words(node, choices)}
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        _check(node, numbers=numbers, choices=choices, compared=compared, called=called)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called}
    return Expression(source, frozenset(names), tree)


def _compared_words(node: ast.AST, choices: Collection[str]) -> list[ast.expr]:
    """Sides of a comparison for equality that are words or choices."""
    if not isinstance(node, ast.Compare) or not all(isinstance(op, _COMPARISONS) for op in node.ops):
        return []
    if any(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in node.ops):
        return []
    sides = [node.left, *node.comparators]
    return [side for side in sides if _is_text(side) or (isinstance(side, ast.Name) and side.id in choices)]


def _check(
    node: ast.AST, *, numbers: Collection[str], choices: Collection[str], compared: set[int], called: set[int]
) -> None:
    """Refuse what an expression may not hold. `compared` and `called` are the nodes that stand in such a place."""
    if not isinstance(node, _ALLOWED):
        raise ExpressionInvalid(f"may hold no {type(node).__name__.lower()}")
    if isinstance(node, ast.Call) and not (
        isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS and node.args and not node.keywords
    ):
        raise ExpressionInvalid(f"may call only {', '.join(_FUNCTIONS)}")
    if isinstance(node, ast.Name) and id(node) not in called:
        if node.id in choices and id(node) not in compared:
            raise ExpressionInvalid(f"'{node.id}' is a word: it can only be compared, with == or !=")
        if node.id not in numbers and node.id not in choices:
            raise ExpressionInvalid(f"'{node.id}' is no input and no quantity above; texts and media are none either")
    if isinstance(node, ast.Constant):
        if _is_text(node) and id(node) not in compared:
            raise ExpressionInvalid("a word can only be compared, with == or !=")
        if not isinstance(node.value, int | float | str | None):
            raise ExpressionInvalid(f"{node.value!r} is no number")
    if isinstance(node, ast.Compare):
        for operator, side in zip(node.ops, node.comparators, strict=True):
            is_none = isinstance(side, ast.Constant) and side.value is None
            if isinstance(operator, ast.Is | ast.IsNot) and not is_none:
                raise ExpressionInvalid("'is' can only ask for None, which an absent input is")


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
