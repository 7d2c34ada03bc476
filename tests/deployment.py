"""The metrics that dashboards, rules and the code name."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from services.chassis.metrics_page import UNITS

REPOSITORY = Path(__file__).resolve().parents[1]
PROMETHEUS = REPOSITORY / "deploy" / "prometheus"
DASHBOARD = REPOSITORY / "deploy" / "grafana" / "forge.json"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))

_NAME = re.compile(r"\b(?:forge|envoy|process)_[a-z0-9_]+|\bforge:[a-z0-9_:]+")
_IN_BRACES = re.compile(r"\{[^{}]*\}")
_AFTER_BY = re.compile(r"\b(?:by|without)\s*\([^()]*\)")
_MADE_BY = re.compile(r"create_(counter|histogram|gauge|up_down_counter)")


def rules() -> Iterator[dict[str, Any]]:
    """Every rule of every file."""
    for file in RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


def expressions() -> list[str]:
    """Everything that is asked of Prometheus."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [*asked, *(rule["expr"] for rule in rules())]


def names_asked_for() -> set[str]:
    """The metrics in them, those that rules record included."""
    return {name for text in expressions() for name in _NAME.findall(_AFTER_BY.sub("", _IN_BRACES.sub("", text)))}


def names_recorded() -> set[str]:
    """What rules record."""
    return {rule["record"] for rule in rules() if "record" in rule}


def names_in_the_code() -> set[str]:
    """What Prometheus sees of each instrument that the services make."""
    found: set[str] = set()
    for file in (REPOSITORY / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                found |= set(_series(node))
    return found


def _series(call: ast.Call) -> Iterator[str]:
    texts = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    named = {word.arg: word.value.value for word in call.keywords if isinstance(word.value, ast.Constant)}
    made = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if not texts or not texts[0].startswith("forge."):
        return
    unit = str(named.get("unit", texts[1] if made == "_Levels" else ""))
    name = "_".join(filter(None, (texts[0].replace(".", "_"), UNITS.get(unit, unit))))
    if made == "create_counter":
        yield f"{name}_total"
    elif made == "create_histogram":
        yield from (f"{name}_{part}" for part in ("bucket", "sum", "count"))
    elif made == "_Levels" or _MADE_BY.fullmatch(made):
        yield name
