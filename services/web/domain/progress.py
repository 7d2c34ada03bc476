"""How far a render is and what can be done about it, in words; the scripts of the pages say the same."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.web.domain.words import when

STATUSES = ("queued", "running", "paused", "canceling", "succeeded", "failed", "canceled", "expired")
OVER = frozenset({"succeeded", "failed", "canceled", "expired"})
MOVING = frozenset({"queued", "running", "canceling"})
"""What changes without anybody doing something."""

DOING: Mapping[str, str] = {
    "starting": "starting a runtime",
    "encoding": "encoding the inputs",
    "denoising": "denoising",
    "decoding": "decoding frames",
    "muxing": "compressing the video",
    "storing": "storing the video",
}
_ENDED = {
    "succeeded": "done",
    "failed": "failed",
    "canceled": "canceled",
    "expired": "expired",
    "canceling": "stopping",
}
_REMEDIES: Mapping[str, str] = {
    "WORKER_LOST": "Its workers went away more often than the platform tries. Try it again, or on another target.",
    "ENGINE_FAILED": "The model itself failed. Try it again; if it fails the same way, change the inputs.",
    "OUT_OF_MEMORY": "Ask for fewer frames or a smaller picture, or for a device with more memory.",
    "WEIGHTS_UNAVAILABLE": "The weights of this version are not on its machine; an operator has to put them there.",
    "STORAGE_FAILED": "The video was made, but could not be kept. Try it again once the object store answers.",
    "CHECKPOINT_REFUSED": "What was kept of it cannot be used any more. Try it again from the beginning.",
    "RUN_TIME_EXCEEDED": "Ask for fewer frames, fewer steps or a faster target.",
    "COST_LIMIT_EXCEEDED": "Allow it to cost more, or ask for fewer frames, fewer steps or a cheaper target.",
    "DEADLINE_EXCEEDED": "Give it more time, or ask for a faster target.",
    "RUNTIME_START_FAILED": "No runtime could be started for it. The status page says what is free and what failed.",
    "INVALID_INPUT": "Change the inputs as the message says.",
}
_MOST_FRAMES = 12


def is_over(status: str) -> bool:
    """Whether a render with this status never moves again."""
    return status in OVER


def progress_text(snapshot: Mapping[str, Any]) -> str:
    """How far a render, or an event of it, is: "step 12 of 40 · 0.8–1.2 min left"."""
    status, phase = snapshot["status"], snapshot["phase"]
    progress = snapshot.get("progress", {})
    done, total = progress.get("done_steps", 0), progress.get("total_steps", 0)
    if status in _ENDED:
        return _ENDED[status]
    if status == "paused":
        return f"paused after step {done} of {total}" if total else "paused"
    if phase == "queued":
        doing = _place(progress.get("queue_position"))
    elif phase == "denoising" and total:
        doing = f"step {done} of {total}"
    else:
        doing = DOING.get(phase, phase)
    return " · ".join(
        filter(None, (doing, time_left(progress.get("eta_seconds_p50"), progress.get("eta_seconds_p90"))))
    )


def time_left(p50: float | None, p90: float | None) -> str:
    """A time between p50 and p90 in seconds: "8–11 s left", "0.8–1.2 min left"; empty when unknown."""
    known = [value for value in (p50, p90) if value is not None]
    if not known:
        return ""
    least, most = known[0], max(known)
    if most < 1:
        return "less than 1 s left"
    if most < 90:
        size, unit, digits = 1, "s", 1 if most < 10 else 0
    else:
        size, unit, digits = (60, "min", 1) if most < 5400 else (3600, "h", 1)
    low, high = (f"{value / size:.{digits}f}" for value in (least, most))
    return f"{low if low == high else f'{low}–{high}'} {unit} left"


def actions(render: Mapping[str, Any], *, may_render: bool) -> tuple[str, ...]:
    """What whoever looks can do with a render: cancel, retry, continue, branch, delete."""
    if not may_render:
        return ()
    status = render["status"]
    if status == "paused":
        return ("continue", "branch", "cancel")
    if status in ("queued", "running"):
        return ("cancel",)
    if status not in OVER:
        return ()
    return ("delete",) if status == "succeeded" else ("retry", "delete")


def remedy(error: Mapping[str, Any] | None) -> str:
    """What to do about a failed render; empty where nothing is known to help."""
    if not error:
        return ""
    known = _REMEDIES.get(error["reason"], "")
    return known or ("The same request may succeed when it is tried again." if error.get("retry") else "")


def took_seconds(render: Mapping[str, Any], now: datetime) -> float:
    """How long a render took from its acceptance to its end, or has taken so far."""
    total_ms = render.get("timing", {}).get("total_ms")
    if total_ms is not None and is_over(render["status"]):
        return total_ms / 1000
    created = when(render["created_at"]) or now
    return max(0.0, ((when(render.get("ended_at")) or now) - created).total_seconds())


def since_seconds(render: Mapping[str, Any], now: datetime) -> float:
    """How long ago a render was accepted."""
    return max(0.0, (now - (when(render["created_at"]) or now)).total_seconds())


def frames(events: Sequence[Mapping[str, Any]], most: int = _MOST_FRAMES) -> list[dict[str, Any]]:
    """The pictures that were made on the way, oldest first, each with its step; of many some, always the last."""
    addresses: set[str] = set()
    pictures: list[dict[str, Any]] = []
    for event in events:
        if not (address := event.get("preview_url")) or address in addresses:
            continue
        addresses.add(address)
        picture = {"address": address, "text": _frame_text(event["phase"], event.get("progress", {}))}
        if pictures and pictures[-1]["text"] == picture["text"]:
            pictures.pop()
        pictures.append(picture)
    if len(pictures) <= most:
        return pictures
    return [pictures[round(number * (len(pictures) - 1) / (most - 1))] for number in range(most)]


def _frame_text(phase: str, progress: Mapping[str, Any]) -> str:
    done, total = progress.get("done_steps", 0), progress.get("total_steps", 0)
    return f"step {done} of {total}" if total and phase in ("denoising", "queued") else DOING.get(phase, phase)


def _place(position: int | None) -> str:
    if position is None:
        return "waits"
    return "next in the queue" if position == 1 else f"place {position} in the queue"
