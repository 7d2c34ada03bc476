"""A platform under malformed requests: what it answered, what it logged, and what it costs it."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import psutil

from tests.malformed.cases import Case
from tests.malformed.sending import Sender
from tests.platforms import Platform

_MIB = 1024 * 1024
_WORKER = "inference_worker"  # comes and goes with renders, and holds models
_SERVER_ERROR = 500


@dataclass
class Findings:
    """What came of it."""

    requests: int = 0
    seconds: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[Case, str]] = field(default_factory=list)
    """Requests that were answered as none should be, and how."""
    logged: list[str] = field(default_factory=list)
    """What the edge or a service wrote down that should not happen."""
    restarted: list[str] = field(default_factory=list)
    growth_mib: dict[str, float] = field(default_factory=dict)
    """By program, what it holds more than after the warm-up."""
    is_well: bool = False
    """Whether a good request works afterwards."""


def attacked(platform: Platform, cases: Iterable[Case], *, warm_up: Iterable[Case] = ()) -> Findings:
    """Send `cases` to a running platform, after `warm_up`, and look at what it has become."""
    found, address = Findings(), platform.url.removeprefix("http://")
    pids = _pids(platform)
    marks = _log_sizes(platform)
    first = Sender(address, platform.key)
    asyncio.run(first.send(warm_up))
    before, began = _memory_mib(platform), time.monotonic()
    sender = Sender(address, platform.key)
    asyncio.run(sender.send(cases))
    found.seconds = time.monotonic() - began
    found.answers = first.answers + sender.answers
    found.requests = found.answers.total()
    found.wrong = [*first.wrong, *sender.wrong]
    with platform.client() as client:
        _cancel_everything(client)
        found.is_well = client.get("/v1/models").status_code == 200 and platform.is_healthy()
    found.growth_mib = {name: size - before.get(name, 0) for name, size in _memory_mib(platform).items()}
    found.restarted = [name for name, pid in _pids(platform).items() if pids.get(name) != pid]
    found.logged = list(_what_should_not_be_logged(platform, marks))
    return found


def _programs(platform: Platform) -> dict[str, psutil.Process]:
    """The processes that stay, by what they run."""
    found = {}
    for process in platform.processes(""):
        words = process.cmdline()
        name = next((word for word in words if word.startswith("services.")), "")
        name = name or ("envoy" if words and words[0].endswith("envoy") else "")
        if name and _WORKER not in name and "forge_cli.tether" not in words:
            found[name] = process
    return found


def _pids(platform: Platform) -> dict[str, int]:
    return {name: process.pid for name, process in _programs(platform).items()}


def _memory_mib(platform: Platform) -> dict[str, float]:
    return {name: process.memory_info().rss / _MIB for name, process in _programs(platform).items()}


def _log_sizes(platform: Platform) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in (platform.home / "logs").glob("*.log")}


def _what_should_not_be_logged(platform: Platform, marks: dict[str, int]) -> Iterable[str]:
    time.sleep(1.5)  # Envoy writes its log once a second
    for file in sorted((platform.home / "logs").glob("*.log")):
        for line in file.read_bytes()[marks.get(file.name, 0) :].decode("utf-8", "replace").splitlines():
            entry = _entry(line)
            if file.name == "edge.log" and int(entry.get("status", 0)) >= _SERVER_ERROR and entry["status"] != 504:
                yield f"edge: {line}"
            elif entry.get("event") == "unexpected error" or line.startswith("Traceback"):
                yield f"{file.name}: {line[:1500]}"


def _entry(line: str) -> dict[str, str]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _cancel_everything(client: object) -> None:
    """Renders that were accepted after all need not be made."""
    listed = client.get("/v1/renders", params={"page_size": 100}).json()  # pyright: ignore[reportAttributeAccessIssue] — a client of HTTP
    for render in listed.get("renders", []):
        if render["status"] in ("queued", "running"):
            client.post(f"/v1/renders/{render['id']}/cancel", json={})  # pyright: ignore[reportAttributeAccessIssue] — as above
