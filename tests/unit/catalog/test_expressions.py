"""What an expression of a model's file may hold, and what it is worth."""

from typing import Any

import pytest

from services.catalog.adapters.expressions import ExpressionInvalid, parse

NUMBERS = ("frames", "steps", "block", "flag")
CHOICES = ("mode",)


def _value(text: str, **names: Any) -> Any:
    return parse(text, numbers=NUMBERS, choices=CHOICES).value(dict.fromkeys((*NUMBERS, *CHOICES)) | names)


@pytest.mark.parametrize(
    ("text", "names", "value"),
    [
        ("(frames - 1) // 4 + 1", {"frames": 97}, 25),
        ("(frames - 1) // 4 + 1", {"frames": 97.0}, 25),
        ("-frames % 7 + +1", {"frames": 3}, 5),
        ("frames ** 2 / 2", {"frames": 3}, 4.5),
        ("2 if steps > 1 else 1", {"steps": 6}, 2),
        ("1 < steps <= 6 and not flag", {"steps": 6, "flag": False}, True),
        ("block or 1", {}, 1),
        ("block or 1", {"block": 5}, 5),
        ("block is None", {}, True),
        ("5 if block is not None else 7", {}, 7),
        ('mode == "causal" or mode != "sync"', {"mode": "sync"}, False),
        ('mode == "causal"', {}, False),
        ("min(frames, 8) + max(1, steps) + ceil(1.2) + abs(-1)", {"frames": 25, "steps": 2}, 13),
    ],
)
def test_an_expression_reckons_as_it_reads(text: str, names: dict[str, Any], value: Any) -> None:
    assert _value(text, **names) == value


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is no expression"),
        ("frames +", "is no expression"),
        ("a = 1", "is no expression"),
        ("1; 2", "is no expression"),
        ("fames", "'fames' is no input"),
        ("prompt", "'prompt' is no input"),
        ("frames.real", "may hold no attribute"),
        ("[1][0]", "may hold no subscript"),
        ("(1, 2)", "may hold no tuple"),
        ("[x for x in (1, 2)]", "may hold no listcomp"),
        ("lambda: 1", "may hold no lambda"),
        ("f'{frames}'", "may hold no joinedstr"),
        ("frames << 2", "may hold no lshift"),
        ("frames | 2", "may hold no bitor"),
        ("frames in (1, 2)", "may hold no"),
        ("round(frames)", "may call only min, max, ceil, abs"),
        ("__import__('os')", "may call only"),
        ("max(default=frames)", "may call only"),
        ("min", "'min' is no input"),
        ("mode", "'mode' is a word"),
        ("mode + mode", "'mode' is a word"),
        ('mode < "sync"', "a word"),
        ('"causal" * 9', "a word can only be compared"),
        ("1j", "is no number"),
        ("frames is steps", "'is' can only ask for None"),
        ("1 + " * 300 + "1", "longer than 1000"),
    ],
)
def test_what_is_no_arithmetic_over_the_inputs_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ExpressionInvalid, match=fault):
        parse(text, numbers=NUMBERS, choices=CHOICES)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1 / frames", "divides by zero"),
        ("frames + block", "has no value"),
        ("block < 2", "has no value"),
        ("min(block, 2)", "has no value"),
        ("(9 ** 8) ** 8 ** 8", "a power needs"),
        ("1e9 ** 9", "a power needs"),
        ("-" * 900 + "1", "nested too deeply"),
    ],
)
def test_an_expression_without_a_value_says_so_and_takes_no_time(text: str, fault: str) -> None:
    with pytest.raises(ExpressionInvalid, match=fault):
        _value(text, frames=0)


@pytest.mark.parametrize(
    "text", ["frames - 1", "1e999", "flag", "block", "frames == 0", "(0 - 1) ** 0.5", "*".join(["9 ** 8"] * 80)]
)
def test_an_amount_is_a_finite_number_that_is_not_negative(text: str) -> None:
    expression = parse(text, numbers=NUMBERS, choices=CHOICES)
    with pytest.raises(ExpressionInvalid, match="must be a"):
        expression.amount({"frames": 0, "flag": True, "block": None})


def test_an_expression_knows_the_names_it_reads() -> None:
    names = parse('max(frames, 2) if mode == "sync" else steps', numbers=NUMBERS, choices=CHOICES).names
    assert names == {"frames", "mode", "steps"}
