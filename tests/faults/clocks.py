"""Wall clocks of the scheduler and its workers that can be shifted while they run."""

import mmap
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock_shim.c")
_PAGE_BYTES = 4096


class ShiftedClocks:
    """Give `environment` to a platform; `shift` then moves the clocks of its processes at once.

    Needs gcc and Linux: `can_be_built` says whether they are there.
    """

    def __init__(self, directory: Path) -> None:
        self._library = directory / "clock_shim.so"
        command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(self._library), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        self._shifts = directory / "clock_shifts"
        self._shifts.write_bytes(bytes(_PAGE_BYTES))
        with self._shifts.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), _PAGE_BYTES)

    @staticmethod
    def can_be_built() -> bool:
        """Whether this machine can."""
        return shutil.which("gcc") is not None and Path("/proc/self/cmdline").exists()

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes a process heed the shifts."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_SHIFTS": str(self._shifts)}

    def shift(self, *, scheduler_seconds: int = 0, workers_seconds: int = 0) -> None:
        """From now on the wall clocks are so far from the true one."""
        self._page[:16] = struct.pack("qq", scheduler_seconds, workers_seconds)
