"""A render's log as people read it: what is the same again and again is folded into one line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

_LEAST_TO_FOLD = 5


@dataclass(frozen=True)
class EventLines:
    """Events that stand together. Folded ones differ in how far they are only; `text` says from where to where."""

    events: tuple[Mapping[str, Any], ...]
    is_folded: bool
    text: str = ""


def lines_of(events: Sequence[Mapping[str, Any]]) -> list[EventLines]:
    """The log with long runs of steps and of frames folded; the first and the last of a phase stay in sight."""
    found: list[EventLines] = []
    for _, group in groupby(events, key=lambda event: (event["attempt"], event["status"], event["phase"])):
        run = tuple(group)
        inner = run[1:-1]
        if len(inner) < _LEAST_TO_FOLD:
            found.append(EventLines(run, is_folded=False))
            continue
        found.append(EventLines(run[:1], is_folded=False))
        found.append(EventLines(inner, is_folded=True, text=f"{inner[0]['message']} … {inner[-1]['message']}"))
        found.append(EventLines(run[-1:], is_folded=False))
    return found
