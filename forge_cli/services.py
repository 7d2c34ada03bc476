"""Programs of the services that an operator's commands run, on the installation's own machine."""

import os
import subprocess
import sys

from forge_cli.failures import CommandFailed
from forge_cli.home import Home

_NOT_FOR_SERVICES = ("FORGE_API_KEY", "FORGE_API_BASE")


def said_by(module: str, home: Home, *arguments: str) -> str:
    """What a program says that works on a home. CommandFailed with its last word when it ends with a failure."""
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_SERVICES}
    done = subprocess.run(  # noqa: S603 — our own program
        [sys.executable, "-P", "-m", module, *arguments],
        env=environment | {"FORGE_HOME": str(home.path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"{module} ended with {done.returncode}"]
        raise CommandFailed(said[-1])
    return done.stdout.strip()
