"""What the checks look at: a home, an environment, and programs that look where this one cannot."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from forge_cli.home import Home
from forge_cli.services import environment_of_services

_SECONDS = 120.0
_ABOUT_TORCH = """
import json, torch
cuda = torch.cuda.is_available()
names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())] if cuda else []
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "sees_cuda": cuda, "devices": names}))
"""


@dataclass(frozen=True)
class Said:
    """What a program said: its two outputs and how it ended; `code` is None where it could not be run to its end."""

    code: int | None
    out: str
    err: str

    @property
    def last_words(self) -> str:
        """The line that says most about a failure."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"


class Asked:
    """A program that was started to say something."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._trouble = ""
        try:
            self._process = subprocess.Popen(  # noqa: S603 — our own programs, and those of the system
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except OSError as error:
            self._trouble = f"{command[0]}: {error.strerror}"

    @cached_property
    def said(self) -> Said:
        """What it said, once it has ended."""
        if self._process is None:
            return Said(None, "", self._trouble)
        try:
            out, err = self._process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            self.end()
            return Said(None, "", f"it did not end within {_SECONDS:.0f} s")
        return Said(self._process.returncode, out, err)

    def end(self) -> None:
        """End it, if nobody has waited for it."""
        if self._process and self._process.poll() is None:
            self._process.kill()
        if self._process and self._process.stdout and not self._process.stdout.closed:
            self._process.communicate()


@dataclass(frozen=True)
class Ground:
    """The machine as one installation sees it. Programs are started at once and work while others are looked at."""

    home: Home
    port: int
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def __enter__(self) -> "Ground":
        """Start the programs that will be asked."""
        _ = self._programs
        return self

    def __exit__(self, *_: object) -> None:
        """Leave none of them behind."""
        for program in self._programs:
            program.end()

    @property
    def _programs(self) -> tuple[Asked, ...]:
        return self._services, self.torch, self.envoy, self.nvidia

    @cached_property
    def services(self) -> dict[str, Any]:
        """What the services would say of settings, files, fleet and encoder, by its name; nothing of what broke."""
        try:
            return json.loads(self._services.said.out)
        except ValueError:
            return {}

    @property
    def services_said(self) -> Said:
        """How asking them went."""
        return self._services.said

    @cached_property
    def torch(self) -> Asked:
        """Which torch this is, and whether it sees devices, as JSON."""
        return Asked([sys.executable, "-c", _ABOUT_TORCH], self.environment)

    @cached_property
    def envoy(self) -> Asked:
        """The edge's program and its version."""
        return Asked([str(Path(sysconfig.get_path("scripts")) / "envoy"), "--version"], self.environment)

    @cached_property
    def nvidia(self) -> Asked:
        """The NVIDIA devices that the driver knows, a line each: name, version of the driver."""
        return Asked(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], self.environment)

    @cached_property
    def _services(self) -> Asked:
        program = [sys.executable, "-P", "-m", "services.preflight"]
        return Asked(program, environment_of_services(self.environment, self.home))
