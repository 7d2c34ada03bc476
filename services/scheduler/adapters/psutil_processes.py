"""What processes and the disk of this machine have, by psutil."""

from pathlib import Path

import psutil

from services.scheduler.ports import ProcessFigures


class PsutilProcesses:
    """Looks at processes; those that are gone have nothing."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._known: dict[int, psutil.Process] = {}

    def figures(self, pid: int) -> ProcessFigures:
        """Memory now, and cores kept busy since it was looked at last."""
        try:
            process = self._known.get(pid)
            if process is None or not process.is_running():
                process = self._known[pid] = psutil.Process(pid)
            with process.oneshot():
                return ProcessFigures(process.memory_info().rss, process.cpu_percent() / 100)
        except psutil.Error:
            self._known.pop(pid, None)
            return ProcessFigures()

    def free_disk_bytes(self) -> int:
        """Room for what the installation keeps; 0 where that cannot be told."""
        try:
            return psutil.disk_usage(str(self._home)).free
        except OSError:
            return 0
