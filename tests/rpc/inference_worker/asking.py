"""What tests ask of worker processes."""

import base64
from typing import Any

_PIXELS = b"P6\n2 1\n255\n\xff\x80\x00\x00\x80\xff"

SMALL: dict[str, Any] = {
    "image": "data:image/x-portable-pixmap;base64," + base64.b64encode(_PIXELS).decode(),
    "width": 64,
    "height": 64,
    "num_frames": 3,
    "num_inference_steps": 2,
    "seed": 17,
    "fps": 7,
}
"""Inputs of a video that takes no time."""


async def load(process: Any, request: Any) -> list[Any]:
    """The events of a load that goes well."""
    events = [event async for event in process.stub.Load(request)]
    assert events[-1].phase == "ready", events[-1].message
    return events


async def render(process: Any, request: Any) -> Any:
    """The last event of a render."""
    return [event async for event in process.stub.Render(request)][-1]
