"""Runs a command that ends when its parent does, even when the parent is killed.

Use: python -m forge_cli.tether PARENT /path/of/command arguments… PARENT is the pid of the process that starts this, or
a file that holds it. The kernel sends the command SIGTERM once that process is gone; when it is gone already, the
command does not run (Linux only; elsewhere it simply runs). The command takes this process over, so its pid and its
pipes are those its parent knows.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and become the command."""
    parent, command = sys.argv[1], sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != _pid(parent):  # it died before the kernel knew whom to tell
            sys.exit("the process that was to be followed is gone")
    os.execvp(command[0], command)  # noqa: S606 — running the given command is its purpose


def _pid(parent: str) -> int:
    return int(parent) if parent.isdecimal() else int(Path(parent).read_text("utf-8"))


if __name__ == "__main__":
    main()
