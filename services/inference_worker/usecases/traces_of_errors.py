"""What may be logged about an unexpected error: where it came from, never what it says."""

import traceback
from pathlib import PurePath
from typing import TypedDict

_INNERMOST = 12


class Where(TypedDict):
    """Type of an error and the innermost calls that led to it."""

    error: str
    at: list[str]


def where(error: BaseException) -> Where:
    """Facts about an error for the log. Its text is left out: libraries quote prompts, images and paths in it."""
    frames = traceback.extract_tb(error.__traceback__)[-_INNERMOST:]
    return Where(
        error=type(error).__qualname__,
        at=[f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    )
