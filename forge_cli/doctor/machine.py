"""Checks of the machine: system, memory, limits, the port, the edge's program."""

import os
import platform
import resource
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from forge_cli.doctor.finding import Finding, broken, doubtful, well
from forge_cli.doctor.ground import Ground
from forge_cli.doctor.running import address_of

_TESTED_PYTHON = (3, 11)
_GIB = 1024**3
_ROOMY_GIB, _TIGHT_GIB = 4.0, 1.5
"""A platform takes 0.7 GiB at rest and 1.3 GiB with one warm model of demo weights; real ones say what they take."""
_EDGE_FILES, _LEAST_FILES = 8_192, 1_024
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def python(_ground: Ground) -> Iterator[Finding]:
    """The interpreter."""
    found = platform.python_version()
    if sys.version_info[:2] < _TESTED_PYTHON:
        yield broken("python", f"Python {found} is too old", "install Python 3.11 and make the environment again")
    elif sys.version_info[:2] > _TESTED_PYTHON:
        yield doubtful("python", f"Python {found}: tested is 3.11", "use Python 3.11 if something is odd")
    else:
        yield well("python", f"Python {found} in {sys.prefix}")


def system(_ground: Ground) -> Iterator[Finding]:
    """The operating system."""
    if sys.platform == "linux":
        yield well("system", f"Linux {platform.release()} on {platform.machine()}")
    else:
        yield broken("system", f"{sys.platform} is no Linux", "serve on Linux; as a client this command works here too")


def memory(_ground: Ground) -> Iterator[Finding]:
    """What can be had, within the machine and within a limit that was set for us."""
    free = _available_bytes() / _GIB
    text = f"{free:.1f} GiB of memory can be had"
    if free < _TIGHT_GIB:
        yield broken("memory", text, "end other programs: a platform with one small model takes 1.3 GiB")
    elif free < _ROOMY_GIB:
        yield doubtful("memory", text, "expect room for one model; FORGE_WORKER_SPARES=0 spares some")
    else:
        yield well("memory", text)


def _available_bytes() -> float:
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    known = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    free = float(known["MemAvailable"])
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (most := limit.read_text().strip()).isdigit():
        free = min(free, int(most) - int(used.read_text()))
    return free


def shared_memory(_ground: Ground) -> Iterator[Finding]:
    """The shared memory that processes of Python and of torch speak through."""
    place = Path("/dev/shm")  # noqa: S108 — looked at, not written to
    if not (place.is_dir() and os.access(place, os.W_OK)):
        yield doubtful("shared-memory", f"{place} cannot be written", "mount it: libraries of engines may need it")
        return
    size = os.statvfs(place)
    yield well("shared-memory", f"{place} has {size.f_bavail * size.f_frsize / 1024**2:,.0f} MiB free")


def open_files(_ground: Ground) -> Iterator[Finding]:
    """How many files a process may have open: the edge holds one for every watcher."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= _EDGE_FILES:
        yield well("open-files", "as many files may be open as the edge wants")
    elif hard >= _LEAST_FILES:
        text = f"{hard} files may be open, and the edge would like {_EDGE_FILES}"
        yield doubtful("open-files", text, f"raise the hard limit, as with: ulimit -Hn {_EDGE_FILES}")
    else:
        yield broken("open-files", f"only {hard} files may be open", f"raise the limit: ulimit -Hn {_EDGE_FILES}")


def port(ground: Ground) -> Iterator[Finding]:
    """The address that forge up would serve at."""
    served = address_of(ground.home)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", ground.port))
        except OSError as error:
            if served and served.endswith(f":{ground.port}"):
                yield well("port", f"{ground.port} is that of the platform which runs on this home")
                return
            remedy = "see who it is with: ss -ltnp, or serve elsewhere with: forge up --port 0"
            yield doubtful("port", f"127.0.0.1:{ground.port} cannot be had: {error.strerror}", remedy)
            return
    yield well("port", f"127.0.0.1:{ground.port} is free")


def envoy(ground: Ground) -> Iterator[Finding]:
    """The edge's program."""
    said = ground.envoy.said
    if said.code:
        yield broken("envoy", f"Envoy does not start: {said.last_words}", "install the pinned packages again")
    elif said.code is None:
        yield broken("envoy", f"Envoy cannot be run: {said.last_words}", "install the pinned packages: make setup")
    else:
        version = next((part for part in said.out.split("/") if part.count(".") == 2 and part[0].isdigit()), "")
        yield well("envoy", f"Envoy {version} starts".replace("  ", " "))


def browser(_ground: Ground) -> Iterator[Finding]:
    """A Chromium, for who works on the console."""
    found = next((name for name in _BROWSERS if shutil.which(name)), None)
    yield well(
        "browser", f"{found} is here for the tests" if found else "no Chromium: only tests in a browser need one"
    )
