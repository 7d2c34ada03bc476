"""The spans of a render as a tree: each below what it is a part of, with its place in the whole."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.web.domain.timeline import PHASES
from services.web.domain.words import when

_CALLED = {"queue": "queued", "cold start": "starting", "pause": "paused"}
"""Spans that have the colour of a phase with another name."""
_LEAST_WIDTH = 0.6
_FACTS = {
    "forge.gpu_type": "on {}",
    "forge.resumed_steps": "from step {} of a checkpoint",
    "forge.done_steps": "{} steps",
    "forge.reason": "{}",
}
_DEEPEST = 12


@dataclass(frozen=True)
class Node:
    """A span; `x` and `width` are percent of the time from the first to the last."""

    name: str
    service: str
    phase: str
    seconds: float
    goes_on: bool
    failed: bool
    outcome: str
    facts: str
    x: float
    width: float
    parts: tuple["Node", ...]


def tree_of(spans: Sequence[Mapping[str, Any]]) -> tuple[Node, ...]:
    """The spans of the contract as a tree; those whose parent is not among them are at the top."""
    if not spans:
        return ()
    began = {span["span_id"]: _seconds(span["started_at"]) for span in spans}
    ends = [began[span["span_id"]] + span.get("duration_ms", 0.0) / 1000 for span in spans]
    origin, whole = min(began.values()), max(ends) - min(began.values())
    parts: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for span in spans:
        parts[span["parent_span_id"] if span["parent_span_id"] in began else ""].append(span)

    def nodes(parent: str, depth: int) -> Iterable[Node]:
        for span in parts[parent] if depth < _DEEPEST else ():
            offset = began[span["span_id"]] - origin
            seconds = span["duration_ms"] / 1000 if "duration_ms" in span else max(0.0, whole - offset)
            share = max(_LEAST_WIDTH, 100 * seconds / whole) if whole else 100.0
            yield Node(
                name=span["name"],
                service=span["service"],
                phase=_phase(span["name"]),
                seconds=seconds,
                goes_on="duration_ms" not in span,
                failed=span["status"] == "error",
                outcome=span["attributes"].get("forge.outcome", ""),
                facts=_facts(span["attributes"]),
                x=round(min(100 - share, 100 * offset / whole) if whole else 0.0, 3),
                width=round(share, 3),
                parts=tuple(nodes(span["span_id"], depth + 1)),
            )

    return tuple(nodes("", 0))


def _phase(name: str) -> str:
    """The phase whose colour a span has; "other" for what is none."""
    phase = _CALLED.get(name, name)
    return phase if phase in PHASES else "other"


def _facts(attributes: Mapping[str, str]) -> str:
    told = {name: attributes[name] for name in _FACTS if attributes.get(name, "0") not in ("", "0")}
    return ", ".join(_FACTS[name].format(value) for name, value in told.items())


def _seconds(stamp: str) -> float:
    found = when(stamp)
    return found.timestamp() if found else 0.0
