"""Checks of a platform that runs on this home: who it is, whether its parts are well, and of which release."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forge_cli.doctor.finding import Finding, broken, doubtful, well
from forge_cli.doctor.ground import Ground
from forge_cli.home import Home
from forge_cli.release import this_release

_SECONDS = 5.0
_CHECK = "platform"
# To this machine only, whatever proxy the environment names.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def address_of(home: Home) -> str | None:
    """Where a platform serves on this home; None when none does."""
    if pid_of(home) is None:
        return None
    try:
        return home.api_base_file.read_text("utf-8").strip() or None
    except OSError:
        return None


def pid_of(home: Home) -> int | None:
    """The process of `forge up` that holds this home. The file stays when it ends, so the process is looked at."""
    pid = _number_in(home.run_dir / "up.lock")
    command = _command_of(pid) if pid else []
    is_ours = {"forge", "forge_cli"} & {Path(part).name for part in command} and {"up", "demo"} & set(command)
    return pid if is_ours else None


def platform(ground: Ground) -> Iterator[Finding]:
    """The platform of this home."""
    home = ground.home
    pid = pid_of(home)
    if pid is None:
        yield from _left_over(home)
        return
    address = address_of(home)
    if address is None:
        yield doubtful(_CHECK, f"forge up (pid {pid}) is being started", "look again in a moment")
        return
    try:
        with _DIRECT.open(f"{address}/healthz", timeout=_SECONDS):
            yield well(_CHECK, f"forge up (pid {pid}) serves at {address}, and all of it is healthy")
    except OSError as error:
        yield broken(_CHECK, f"forge up (pid {pid}) at {address} is not healthy: {error}", f"see {home.logs_dir}")
    yield from _parts(home)
    yield from _release(home)


def _left_over(home: Home) -> Iterator[Finding]:
    pid = _number_in(home.run_dir / "supervisord.pid")
    if pid and str(home.run_dir / "supervisord.conf") in _command_of(pid):
        text = f"no forge up holds this home, but the services of an earlier one still run (pid {pid})"
        yield doubtful(_CHECK, text, f"wait until they have stopped, or end them with: kill {pid}")
    else:
        yield well(_CHECK, "no platform runs on this home")


def _parts(home: Home) -> Iterator[Finding]:
    """Each service as the edge finds it."""
    try:
        admin = (home.run_dir / "admin-address").read_text("utf-8").strip()
        with _DIRECT.open(f"http://{admin}/clusters?format=json", timeout=_SECONDS) as answer:
            clusters = json.load(answer)["cluster_statuses"]
    except (OSError, ValueError, KeyError) as error:
        yield doubtful(_CHECK, f"the edge does not tell of its services: {error}", f"see {home.logs_dir / 'edge.log'}")
        return
    for cluster in clusters:
        name, hosts = cluster["name"], cluster.get("host_statuses", [])
        if not hosts or any(map(_is_unwell, hosts)):
            log = home.logs_dir / f"{name}.log"
            yield broken(_CHECK, f"{name} does not answer the edge", f"its last words are in {log}")
        else:
            yield well(_CHECK, f"{name} is healthy")


def _is_unwell(host: dict[str, Any]) -> bool:
    health = host.get("health_status", {})
    return any(health.get(sign) for sign in ("failed_active_health_check", "failed_outlier_check"))


def _release(home: Home) -> Iterator[Finding]:
    here = str(this_release())
    try:
        there = home.release_file.read_text("utf-8").strip()
    except OSError:
        yield doubtful(_CHECK, "what runs does not say of which release it is", "restart it: forge up")
        return
    if there == here:
        yield well(_CHECK, f"what runs is of this release, {here}")
    else:
        yield doubtful(_CHECK, f"what runs is {there}, and this command {here}", "restart it: forge up")


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return []
