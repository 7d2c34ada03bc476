"""Runs a command that ends when its parent does, even when the parent is killed.

Use: python -m forge_cli.tether /path/of/command arguments… The kernel sends the command SIGTERM once the process that
started it is gone (Linux only; elsewhere the command simply runs). The command takes this process over, so its pid and
its pipes are those its parent knows.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and become the command."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 — running the given command is its purpose


if __name__ == "__main__":
    main()
