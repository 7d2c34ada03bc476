"""What certificates between programs cost a small call: the same call to two whole platforms, turn by turn.

    python -m bench.guarded_calls [rounds]

One platform runs as `forge up` runs it, the other with FORGE_PLAINTEXT=true. Both answer `GET /v1/account` (edge, key
check, service) and `GET /v1/capacity` (edge, key check, scheduler). The table gives medians of wall time as a client
sees it, and the CPU time of all programs of a platform, for a call.
"""

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil

from bench.overhead import platform

PATHS = ("/v1/account", "/v1/capacity")
UNLIMITED = {"FORGE_RATE_LIMIT_PER_SECOND": "0"}
VARIANTS = {"plain text": {**UNLIMITED, "FORGE_PLAINTEXT": "true"}, "mutual TLS": UNLIMITED}
ROUNDS = 30
CALLS = 50


def processes(home: Path) -> list[psutil.Process]:
    """The programs of the platform in `home`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("FORGE_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def cpu_seconds(programs: list[psutil.Process]) -> float:
    """CPU time of all programs until now."""
    return sum(times.user + times.system for times in (program.cpu_times() for program in programs))


def turn(client: httpx.Client, programs: list[psutil.Process], path: str) -> tuple[float, float]:
    """Median ms and mean CPU microseconds of a call, over some calls one after the other."""
    walls, before = [], cpu_seconds(programs)
    for _ in range(CALLS):
        began = time.perf_counter()
        client.get(path).raise_for_status()
        walls.append(time.perf_counter() - began)
    return statistics.median(walls) * 1e3, (cpu_seconds(programs) - before) / CALLS * 1e6


def main(rounds: int) -> None:
    """Take turns and print the table."""
    with ExitStack() as stack:
        sides = {}
        for name, environment in VARIANTS.items():
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            client = stack.enter_context(platform(home, environment))
            sides[name] = client, processes(home)
        print(f"{rounds} rounds of {CALLS} calls")
        print(f"{'':16}{'':14}{'median ms':>10}{'ratio':>7}{'CPU µs':>9}{'ratio':>7}")
        for path in PATHS:
            for client, programs in sides.values():
                turn(client, programs, path)
            turns = [
                {name: turn(client, programs, path) for name, (client, programs) in sides.items()}
                for _ in range(rounds)
            ]
            base = "plain text"
            for name in sides:
                wall, cpu = (statistics.median(found[name][i] for found in turns) for i in (0, 1))
                ratios = [
                    statistics.median(found[name][i] / max(found[base][i], 1e-9) for found in turns) for i in (0, 1)
                ]
                print(f"{path:16}{name:14}{wall:10.2f}{ratios[0]:7.2f}{cpu:9.0f}{ratios[1]:7.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
