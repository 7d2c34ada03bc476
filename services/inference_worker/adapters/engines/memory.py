"""How much memory each phase of a render takes at most."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch

from services.inference_worker.domain.attempt import PeakMemory, Phase

_PROCESS = Path("/proc/self")
_RESET_PEAK = "5"
_PEAK_RESIDENT = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)


class MemoryMeter:
    """Keeps the peak of each phase. Phases may take turns."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._phase: Phase | None = None
        self._peaks: dict[Phase, PeakMemory] = {}

    def enter(self, phase: Phase) -> None:
        """A phase begins or goes on; the one before it ends."""
        if phase is self._phase:
            return
        self._note()
        self._phase = phase
        _reset(self._device)

    def peaks(self) -> Mapping[Phase, PeakMemory]:
        """The peaks so far."""
        self._note()
        return dict(self._peaks)

    def _note(self) -> None:
        if self._phase is None:
            return
        before, now = self._peaks.get(self._phase, PeakMemory(0, 0)), _read(self._device)
        self._peaks[self._phase] = PeakMemory(
            max(before.allocated_bytes, now.allocated_bytes), max(before.reserved_bytes, now.reserved_bytes)
        )


def _reset(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # the peak is then that of the process's whole life: too high rather than too low
        (_PROCESS / "clear_refs").write_text(_RESET_PEAK)


def _read(device: torch.device) -> PeakMemory:
    if device.type == "cuda":
        return PeakMemory(torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device))
    try:
        found = _PEAK_RESIDENT.search((_PROCESS / "status").read_text())
    except OSError:
        found = None
    resident = 1024 * int(found[1]) if found else 0
    return PeakMemory(resident, resident)
