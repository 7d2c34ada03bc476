"""What an inference body says beside the model's own inputs: where it goes, how soon, and within what limits."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.chassis.errors import Violation
from services.scheduler.domain.facts import Prefer, Priority

ON_OUT_OF_MEMORY = ("make_room", "fail")
"""What may happen to a render whose device has too little memory; the first is the default."""

MAX_REQUEST_ID_LENGTH = 200
MAX_FINISH_WITHIN_SECONDS = 7 * 86_400


@dataclass(frozen=True)
class Terms:
    """How a render is to be run."""

    priority: Priority = Priority.NORMAL
    prefer: Prefer = Prefer.CHEAPEST
    max_cost_usd: float | None = None
    deadline: datetime | None = None
    pause_after_step: int = 0
    fail_when_out_of_memory: bool = False
    finish_within_seconds: float | None = None


@dataclass(frozen=True)
class Request:
    """An inference body, taken apart: where it goes, how it is to be run, and what the model reads."""

    slug: str
    model_version: str | None
    gpu_type: str | None
    region: str | None
    request_id: str | None
    terms: Terms
    inputs: Mapping[str, Any]


def take_apart(body: Mapping[str, Any], path_slug: str | None, now: datetime) -> tuple[Request, list[Violation]]:
    """Split a body into routing and inputs; says what is wrong with the routing."""
    violations: list[Violation] = []
    read: dict[str, Any] = {}
    for name, reader in sorted(_READERS.items()):
        if (value := body.get(name)) is not None:
            try:
                read[name] = reader(value)
            except _Wrong as wrong:
                violations.append(Violation(name, str(wrong)))
    model = read.get("model")
    if path_slug and model and model != path_slug:
        violations.append(Violation("model", f"must be '{path_slug[:100]}' as in the path, or be left out"))
    if not path_slug and body.get("model") is None:
        violations.append(Violation("model", "is required: the slug of the model to run"))
    deadline: datetime | None = read.get("deadline")
    if deadline is not None and deadline <= now:
        violations.append(
            Violation("deadline", f"must be in the future; here it is {now.isoformat(timespec='seconds')}")
        )
    request = Request(
        slug=path_slug or model or "",
        model_version=read.get("model_version"),
        gpu_type=read.get("gpu_type"),
        region=read.get("region"),
        request_id=read.get("request_id"),
        terms=Terms(
            priority=read.get("priority", Priority.NORMAL),
            prefer=read.get("prefer", Prefer.CHEAPEST),
            max_cost_usd=read.get("max_cost_usd"),
            deadline=deadline,
            finish_within_seconds=read.get("finish_within_seconds"),
            pause_after_step=read.get("pause_after_step", 0),
            fail_when_out_of_memory=read.get("on_out_of_memory") == "fail",
        ),
        inputs={name: value for name, value in body.items() if name not in ROUTING_FIELDS},
    )
    return request, violations


class _Wrong(Exception):
    """What is wrong with a value, in words."""


def _text(value: Any) -> str:
    if not (isinstance(value, str) and value):
        raise _Wrong("must be a non-empty string")
    return value


def _request_id(value: Any) -> str:
    if len(_text(value)) > MAX_REQUEST_ID_LENGTH:
        raise _Wrong(f"must have at most {MAX_REQUEST_ID_LENGTH} characters")
    return value


def _one_of(words: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value not in [str(word) for word in words]:
            raise _Wrong(f"must be one of: {', '.join(words)}")
        return type(words[0])(value)

    return read


def _usd(value: Any) -> float:
    if not _is_number(value) or value <= 0:
        raise _Wrong("must be a number of US dollars above 0")
    return float(value)


def _wish(value: Any) -> float:
    if not _is_number(value) or not 1 <= value <= MAX_FINISH_WITHIN_SECONDS:
        raise _Wrong(f"must be a number of seconds from 1 to {MAX_FINISH_WITHIN_SECONDS}")
    return float(value)


def _step(value: Any) -> int:
    if not _is_number(value) or value != int(value) or not 1 <= value <= 1_000_000:
        raise _Wrong("must be a whole number of steps, at least 1")
    return int(value)


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(value))
    except ValueError:
        raise _Wrong("must be a time as in 2026-11-20T15:04:05Z (RFC 3339)") from None
    if moment.tzinfo is None:
        raise _Wrong("must name its time zone, as in 2026-11-20T15:04:05Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # at the ends of the calendar, seen from another time zone
        raise _Wrong("must be a time between the years 1 and 9999 in UTC") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "model": _text,
    "model_version": _text,
    "gpu_type": _text,
    "region": _text,
    "request_id": _request_id,
    "priority": _one_of(tuple(Priority)),
    "prefer": _one_of(tuple(Prefer)),
    "max_cost_usd": _usd,
    "deadline": _moment,
    "finish_within_seconds": _wish,
    "pause_after_step": _step,
    "on_out_of_memory": _one_of(ON_OUT_OF_MEMORY),
}

ROUTING_FIELDS = frozenset(_READERS)
"""Fields of an inference body that are not inputs of the model."""
