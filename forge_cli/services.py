"""Programs of the services that an operator's commands run, on the installation's own machine."""

import os
import subprocess
import sys
from collections.abc import Mapping

from forge_cli.failures import CommandFailed
from forge_cli.home import Home

_NOT_FOR_SERVICES = ("FORGE_API_KEY", "FORGE_API_BASE")


def environment_of_services(environment: Mapping[str, str], home: Home) -> dict[str, str]:
    """What such a program is started with: our own environment without what a client sends, and the home."""
    child = {name: value for name, value in environment.items() if name not in _NOT_FOR_SERVICES}
    return child | {"FORGE_HOME": str(home.path)}


def setting(service: str, name: str) -> str:
    """The variable of a service's own setting: FORGE_BILLING_ESTIMATE_ADDRESS."""
    return f"FORGE_{service}_{name}".replace("-", "_").upper()


def speaks_plainly(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for plain text between the programs."""
    return environment.get("FORGE_PLAINTEXT", "").lower() in ("1", "true", "yes", "on")


def said_by(module: str, home: Home, *arguments: str) -> str:
    """What a program says that works on a home. CommandFailed with its last word when it ends with a failure."""
    done = subprocess.run(  # noqa: S603 — our own program
        [sys.executable, "-P", "-m", module, *arguments],
        env=environment_of_services(os.environ, home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"{module} ended with {done.returncode}"]
        raise CommandFailed(said[-1])
    return done.stdout.strip()
