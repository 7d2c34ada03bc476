"""From the dialect's words to an inference body, and from a render to a video."""

import base64
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.chassis.errors import InvalidInput, Violation
from services.web.videos.lengths import frames_for

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)
_SECONDS = re.compile(r"\d{1,4}(\.\d{1,6})?", re.ASCII)
_WORDS = frozenset({"model", "model_version", "prompt", "seconds", "size", "input_reference"})
_STATUSES: Mapping[str, str] = {
    "queued": "queued",
    "running": "in_progress",
    "paused": "in_progress",
    "canceling": "in_progress",
    "succeeded": "completed",
    "failed": "failed",
    "canceled": "failed",
    "expired": "failed",
}
_REFERENCES = ("data:", "forge-upload://", "https://")
_CLOSE_ENOUGH_FRAMES = 2.5
"""Nobody is told of a difference that comes from frames that come in fours."""
_ENDS = {
    "canceled": "the video was canceled",
    "expired": "the video was given up because it had not been begun in time",
}


def inference_body(asked: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The inference body of what is asked for, for a model with this input schema, and what its sender should know.

    What the dialect has no word for passes as it is: the model's own inputs, and those of every inference body. Raises
    InvalidInput.
    """
    properties: Mapping[str, Any] = schema["properties"]
    body = {name: _typed(value, properties.get(name, {})) for name, value in asked.items() if name not in _WORDS}
    violations: list[Violation] = []
    body |= {name: asked[name] for name in ("model", "model_version") if asked.get(name)}
    if asked.get("prompt") is not None and "prompt" in properties:
        body["prompt"] = asked["prompt"]
    if asked.get("size") is not None:
        if found := _SIZE.fullmatch(str(asked["size"])):
            body["width"], body["height"] = map(int, found.groups())
        else:
            violations.append(Violation("size", "must be width x height in pixels, for example 1280x720"))
    if asked.get("input_reference") is not None:
        image = next((name for name, prop in properties.items() if prop.get("x-forge-media") == "image"), None)
        if image is None:
            violations.append(Violation("input_reference", "is not for this model: it takes no image"))
        elif isinstance(picture := asked["input_reference"], str) and picture.startswith(_REFERENCES):
            body[image] = picture  # whoever makes the render of it says what is wrong with it
        else:
            violations.append(
                Violation("input_reference", "must be a file, the file_id of an upload, or an image_url: a data URI")
            )
    notes: list[str] = []
    if asked.get("seconds") is not None:
        if _SECONDS.fullmatch(str(asked["seconds"])) and "num_frames" in properties:
            body["num_frames"] = frames_for(float(asked["seconds"]), schema, body)
            notes += _note(asked["seconds"], body, properties)
        else:
            violations.append(Violation("seconds", "must be a number of seconds, for example 4"))
    if violations:
        raise InvalidInput(violations)
    return body, notes


def data_uri(content: bytes, media_type: str) -> str:
    """A file as a data URI. What its sender does not name is told by how it begins."""
    known = next((name for start, name in _SIGNATURES.items() if content.startswith(start)), None)
    if content[8:12] == b"WEBP":
        known = "image/webp"
    return f"data:{known or media_type};base64,{base64.b64encode(content).decode('ascii')}"


_SIGNATURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"P6": "image/x-portable-pixmap"}


def video(render: Mapping[str, Any], **known: Any) -> dict[str, Any]:
    """A render as a video. `known` is what its sender said and no render holds, the prompt for example."""
    status, output, shape = _STATUSES[render["status"]], render.get("output"), render.get("shape", {})
    width, height, frames, fps = (
        (output or shape).get(name) for name in ("width", "height", "num_frames", "fps")
    )  # of a video that is not there yet, as it was asked for
    return {
        "id": render["id"],
        "object": "video",
        "model": render["slug"],
        "status": status,
        "progress": 100 if status == "completed" else int(100 * render["progress"]["fraction"]),
        "created_at": _unix(render["created_at"]),
        "completed_at": _unix(render.get("ended_at")) if status == "completed" else None,
        "expires_at": None,
        "seconds": f"{frames / fps:.3f}".rstrip("0").rstrip(".") if frames and fps else None,
        "size": f"{width:.0f}x{height:.0f}" if width and height else None,
        "prompt": None,
        "remixed_from_video_id": None,
        "error": _error(render) if status == "failed" else None,
        "warnings": render["warnings"],
        **known,
    }


def _note(seconds: Any, body: Mapping[str, Any], properties: Mapping[str, Any]) -> list[str]:
    fps = body.get("fps", properties.get("fps", {}).get("default"))
    if not isinstance(fps, int | float) or fps <= 0:
        return []
    made = body["num_frames"] / fps
    if abs(made - float(seconds)) < _CLOSE_ENOUGH_FRAMES / fps:
        return []
    return [
        f"the video lasts {made:.2f} s instead of {seconds} s: {body['num_frames']} frames are the nearest possible"
    ]


def _typed(value: Any, schema: Mapping[str, Any]) -> Any:
    """A field of a form as the schema has it: forms know texts only."""
    if not isinstance(value, str) or schema.get("type") not in ("integer", "number", "boolean"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _error(render: Mapping[str, Any]) -> dict[str, str]:
    if failure := render.get("error"):
        return {"code": failure["reason"].lower(), "message": failure["message"]}
    return {"code": render["status"], "message": _ENDS.get(render["status"], "the video failed")}


def _unix(stamp: str | None) -> int | None:
    return int(datetime.fromisoformat(stamp).timestamp()) if stamp else None
