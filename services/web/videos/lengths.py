"""How many frames make so many seconds, as near as a model can."""

from collections.abc import Mapping
from typing import Any

_FRAMES = "num_frames"


def frames_for(seconds: float, schema: Mapping[str, Any], inputs: Mapping[str, Any]) -> int:
    """The number of frames that comes nearest to `seconds`, of those that the model can make with its other inputs."""
    properties: Mapping[str, Any] = schema["properties"]
    known = {name: prop["default"] for name, prop in properties.items() if "default" in prop} | dict(inputs)
    frames = properties[_FRAMES]
    wanted = seconds * float(known.get("fps", 1))
    rules = [(rule["kind"], rule["fields"]) for rule in schema.get("x-forge-rules", ()) if _FRAMES in rule["fields"]]
    can_be = [
        count
        for count in range(int(frames.get("minimum", 1)), int(frames.get("maximum", wanted)) + 1)
        if all(_holds(kind, fields, known | {_FRAMES: count}) for kind, fields in rules)
    ]
    return min(can_be, key=lambda count: abs(count - wanted), default=round(wanted))


def _holds(kind: str, fields: list[str], inputs: Mapping[str, Any]) -> bool:
    """Whether a rule of the schema holds. One that is not known here is for the scheduler to judge."""
    values = [inputs.get(name) for name in fields]
    match kind, values:
        case "four_k_plus_one", [int() as frames]:
            return frames % 4 == 1
        case "fills_blocks", [int() as frames, int() as block] if block > 0:
            return _latent(frames) % block == 0
        case "windows_fill_blocks", [int() as frames, int() as window, int() as overlap, int() as block] if block > 0:
            return frames <= window or (_latent(window) % block == 0 and _latent(overlap) % block == 0)
        case "required_when_greater", [needed, int() as left, int() as right]:
            return left <= right or needed is not None
        case _:
            return True


def _latent(frames: int) -> int:
    return (frames - 1) // 4 + 1
