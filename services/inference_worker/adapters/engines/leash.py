"""How far a render may run ahead of its device."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

import torch

_MARKS_AHEAD = 2


class Mark(Protocol):
    """A place in the work given to a device."""

    def synchronize(self) -> None:
        """Return when the device has come to it."""
        ...


class Leash:
    """Called before each layer of a model: waits until the device is only two layers behind, and looks whether to stop.

    A process gives a GPU work much faster than that is done. Without a leash it would have given away a whole step
    before anybody can want it to stop; with one the device is still never out of work.
    """

    def __init__(self, check: Callable[[], None], mark: Callable[[], Mark]) -> None:
        self._check = check
        self._mark = mark
        self._marks: deque[Mark] = deque()

    def __call__(self) -> None:
        """Raises what the check raises."""
        self._marks.append(self._mark())
        if len(self._marks) > _MARKS_AHEAD:
            self._marks.popleft().synchronize()
        self._check()


def leash_on(device: torch.device, check: Callable[[], None]) -> Callable[[], None]:
    """A leash for this device; the check itself where work is done at once."""
    if device.type != "cuda":
        return check

    def mark() -> Mark:
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        return event

    return Leash(check, mark)
