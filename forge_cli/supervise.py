"""supervisord as a child: its configuration, its start, the state of its programs, and its orderly end.

Every process is tethered to the one that started it (see tether.py): when `forge up` is killed, supervisord is told
to stop and stops the services; when supervisord is killed too, the kernel tells each service to stop; workers follow
the scheduler, at the latest when they have heard nothing from it for half a minute.
"""

import os
import resource
import shlex
import subprocess
import sys
import tempfile
import xmlrpc.client
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from forge_cli.failures import CommandFailed

_LOG_BYTES, _LOG_BACKUPS = 10 * 1024 * 1024, 3
_LONGEST_SOCKET_PATH = 90  # of 107 bytes; supervisord first binds beside it, with its pid appended
_NEVER_GIVE_UP = 1_000_000
_OPEN_FILES = 8_192
_TETHER = [sys.executable, "-P", "-m", "forge_cli.tether"]


@dataclass(frozen=True)
class Program:
    """A process to keep running. Those of a higher `order` start later and stop earlier; equals go together."""

    name: str
    command: Sequence[str]
    order: int
    stop_seconds: int
    """How long it may take to stop before it is killed."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What it alone is told; not for secrets, since everybody sees command lines."""
    without: Sequence[str] = ()
    """Variables of the others that it must not have."""

    @property
    def command_line(self) -> str:
        """The command with its own environment, for a shell."""
        own = [part for name in self.without for part in ("-u", name)]
        own += [f"{name}={value}" for name, value in self.environment.items()]
        return shlex.join([*(["env", *own] if own else []), *self.command])


@dataclass(frozen=True)
class ProgramState:
    """A program as the supervisor sees it. `pid` is 0 while it does not run."""

    name: str
    pid: int
    is_running: bool
    description: str


def supervisor_config(programs: Sequence[Program], *, run_dir: Path, logs_dir: Path, socket_path: Path) -> str:
    """The text of a supervisord configuration. CommandFailed for a path that supervisord's format cannot hold."""
    pid_file = run_dir / "supervisord.pid"
    sections = [
        _section(
            "supervisord",
            nodaemon="true",
            silent="true",
            logfile=_text(logs_dir / "supervisord.log"),
            logfile_maxbytes=_LOG_BYTES,
            logfile_backups=1,
            pidfile=_text(pid_file),
            childlogdir=_text(logs_dir),
            minfds=_open_files(),
        ),
        _section("unix_http_server", file=_text(socket_path), chmod="0700"),
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n",
    ]
    sections += [
        _section(
            f"program:{program.name}",
            command=_text(f"{shlex.join([*_TETHER, str(pid_file)])} {program.command_line}"),
            autorestart="true",
            startsecs=1,
            startretries=_NEVER_GIVE_UP,
            stopsignal="TERM",
            stopwaitsecs=program.stop_seconds,
            stopasgroup="false",  # the scheduler stops its workers itself, after their renders are at a safe point
            killasgroup="true",
            redirect_stderr="true",
            stdout_logfile=_text(_text(logs_dir / f"{program.name}.log")),  # supervisord expands it twice
            stdout_logfile_maxbytes=_LOG_BYTES,
            stdout_logfile_backups=_LOG_BACKUPS,
        )
        for program in programs
    ]
    for order in sorted({program.order for program in programs}):
        together = ",".join(program.name for program in programs if program.order == order)
        sections.append(_section(f"group:stage-{order}", programs=together, priority=order))
    return "\n".join(sections)


class Supervisor:
    """One supervisord and the programs it keeps running. Whoever calls `start` calls `stop`."""

    def __init__(self, programs: Sequence[Program], *, run_dir: Path, logs_dir: Path) -> None:
        self._programs = programs
        self._run_dir = run_dir
        self._logs_dir = logs_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_path = run_dir / "supervisord.sock"
        if len(os.fsencode(self._socket_path)) > _LONGEST_SOCKET_PATH:
            self._socket_path = Path(tempfile.gettempdir()) / f"forge-{os.getuid()}-{os.getpid()}.sock"

    def start(self, environment: Mapping[str, str]) -> None:
        """Start supervisord, which starts the programs with `environment`. Returns at once."""
        config = self._run_dir / "supervisord.conf"
        config.write_text(
            supervisor_config(
                self._programs, run_dir=self._run_dir, logs_dir=self._logs_dir, socket_path=self._socket_path
            ),
            "utf-8",
        )
        supervisord = [sys.executable, "-P", "-m", "forge_cli.supervisord", "-n", "-c", str(config)]
        with self._complaints.open("wb") as complaints:
            self._process = subprocess.Popen(  # noqa: S603 — our own command line
                [*_TETHER, str(os.getpid()), *supervisord],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=complaints,
                stderr=complaints,
                start_new_session=True,  # Ctrl-C on the terminal is ours; the services end in order
            )

    def check(self) -> None:
        """CommandFailed when supervisord itself has ended."""
        if self._process is None or self._process.poll() is None:
            return
        said = self._complaints.read_text("utf-8", "replace").strip().splitlines()[-10:]
        raise CommandFailed(
            f"the supervisor ended unexpectedly (exit {self._process.returncode})",
            facts=said or [f"see {self._logs_dir / 'supervisord.log'}"],
        )

    def states(self) -> list[ProgramState]:
        """The programs as they are now; empty while supervisord cannot be asked."""
        try:
            answer: Any = self._ask("getAllProcessInfo")
        except (OSError, xmlrpc.client.Error):
            return []
        return [
            ProgramState(
                name=found["name"],
                pid=found["pid"],
                is_running=found["statename"] in ("STARTING", "RUNNING"),
                description=found["spawnerr"] or found["description"],
            )
            for found in answer
        ]

    def stop(self, *, patience_seconds: float) -> None:
        """Ask everything to stop, wait, and kill what is left after `patience_seconds` or at KeyboardInterrupt."""
        if self._process is None:
            return
        try:
            self._tell_to_stop(self._process)
            self._process.wait(patience_seconds)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self.kill()
        self._forget()

    def kill(self) -> None:
        """Kill everything now, workers included."""
        if self._process is None:
            return
        family: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._process.pid)
            family = [root, *root.children(recursive=True)]  # the root first: it must not restart the others
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        self._forget()

    def _tell_to_stop(self, process: subprocess.Popen[bytes]) -> None:
        try:
            self._ask("shutdown")  # acts at once; a signal is seen at the next tick, up to a second later
        except (OSError, xmlrpc.client.Error):
            process.terminate()

    @property
    def _complaints(self) -> Path:
        return self._logs_dir / "supervisord-console.log"

    def _ask(self, method: str) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket_path}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
            return getattr(server.supervisor, method)()

    def _forget(self) -> None:
        self._process = None
        self._socket_path.unlink(missing_ok=True)


def _section(name: str, **options: object) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in options.items())]) + "\n"


def _open_files() -> int:
    """How many files each process may have open: the edge holds one for every watcher."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)


def _text(value: object) -> str:
    text = str(value)
    if "\n" in text or any(f"{space}{mark}" in text for space in " \t" for mark in ";#"):
        raise CommandFailed(
            f"this path cannot be used: {text!r}", hints=["choose a --home without ' #', ' ;' and line breaks"]
        )
    return text.replace("%", "%%")
