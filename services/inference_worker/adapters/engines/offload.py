"""Which parts of a model are on the device: all of them, or, once memory was short, only those at work."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch

_HOST = torch.device("cpu")


class Movable(Protocol):
    """A part of a model."""

    def to(self, device: torch.device) -> object:
        """Move to a device."""
        ...


class Parts:
    """The parts of a loaded model, by name. They are on the device when this is made."""

    def __init__(self, device: torch.device, parts: Mapping[str, Movable]) -> None:
        self._device = device
        self._parts = parts
        self._frugal = False

    def make_room(self) -> bool:
        """From now on only parts at work are on the device. False when it is so already or there is no other place."""
        if self._frugal or self._device.type == _HOST.type:
            return False
        self._frugal = True
        return True

    @contextmanager
    def at_work(self, *names: str) -> Iterator[None]:
        """While the block runs these parts are on the device."""
        if self._frugal:
            for name, part in self._parts.items():
                if name not in names:
                    part.to(_HOST)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            for name in names:
                self._parts[name].to(self._device)
        yield
