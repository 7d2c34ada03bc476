"""What traces and metrics cost: an empty call and a small render, in turns on a platform with them and on one without.

    python -m bench.telemetry [--calls 400] [--renders 20]

Both are whole platforms on this machine. The one without has OTEL_SDK_DISABLED set, so that no service and no worker
makes spans or figures; the edge sends its own spans in both. CPU is that of all processes of a platform.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil

from tests.platforms import SKYREELS, Platform, running

WITH, WITHOUT = "with", "without"


def cpu_seconds(platform: Platform) -> float:
    """CPU time of all its processes so far."""
    total = 0.0
    for process in platform.processes(""):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def in_turns(
    platforms: dict[str, Platform], ask: Callable[[Platform, httpx.Client], None], rounds: int, each: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Milliseconds of each call, and CPU milliseconds a call, by platform. They take turns of `each` calls."""
    took: dict[str, list[float]] = {name: [] for name in platforms}
    cpu = dict.fromkeys(platforms, 0.0)
    with ExitStack() as stack:
        clients = {name: stack.enter_context(platform.client()) for name, platform in platforms.items()}
        for number in range(rounds):
            for name in list(platforms)[:: 1 if number % 2 else -1]:
                before = cpu_seconds(platforms[name])
                for _ in range(each):
                    began = time.perf_counter()
                    ask(platforms[name], clients[name])
                    took[name].append(1000 * (time.perf_counter() - began))
                cpu[name] += 1000 * (cpu_seconds(platforms[name]) - before)
    return took, {name: spent / (rounds * each) for name, spent in cpu.items()}


def show(what: str, took: dict[str, list[float]], cpu: dict[str, float]) -> None:
    """A line of the table for each platform, and what the difference is."""
    for name in (WITHOUT, WITH):
        print(f"{what:<14}{name:<9}{statistics.median(took[name]):>10.2f} ms{cpu[name]:>10.2f} ms CPU")
    pairs = [a - b for a, b in zip(took[WITH], took[WITHOUT], strict=True)]
    print(f"{what:<14}{'more':<9}{statistics.median(pairs):>10.2f} ms{cpu[WITH] - cpu[WITHOUT]:>10.2f} ms CPU\n")


def render(platform: Platform, client: httpx.Client) -> None:
    """A small render, to its end."""
    answer = client.post(f"/v1/inference/{SKYREELS}", json=platform.small(SKYREELS)).json()
    assert answer["status"] == "succeeded", answer


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--renders", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        platforms = {
            name: stack.enter_context(running(Platform(Path(folder) / name / "home", "pages", environment)))
            for name, environment in ((WITH, {}), (WITHOUT, {"OTEL_SDK_DISABLED": "true"}))
        }
        for platform in platforms.values():
            with platform.client() as client:
                for _ in range(3):
                    render(platform, client)
        calls = in_turns(
            platforms, lambda _, client: client.get("/v1/account").raise_for_status() and None, options.calls // 20, 20
        )
        show("empty call", *calls)
        before = (platforms[WITH].home / "state" / "traces.sqlite3-wal").stat().st_size
        renders = in_turns(platforms, render, options.renders, 1)
        show("small render", *renders)
        time.sleep(3)
        file = platforms[WITH].home / "state"
        size = sum(path.stat().st_size for path in file.glob("traces.sqlite3*"))
        print(f"span store: {size:,} bytes with its write-ahead log ({before:,} bytes of log before the renders)")


if __name__ == "__main__":
    main()
