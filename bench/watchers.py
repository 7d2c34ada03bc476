"""What watchers get, and what they cost: event delay through the edge, the scheduler's memory, and the pace of renders.

    python -m bench.watchers [watchers]

The platform runs with its real services, database and edge; its workers only keep time, in the scheduler's own event
loop, so that whatever holds the loop up slows the renders, and shows. Watchers are HTTP clients that read JSON lines.
A delay is the time from an event's `at`, taken before the event is stored, to the watcher's receipt of its bytes; the
clock of one machine shows both. Delays count from a second after the last stream has begun to deliver.
"""

import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import psutil

from bench.crowd import Crowd, Watched, never_reading
from bench.scripted_platform import SLOTS, Platform, scripted_platform

WATCHERS = 1000
MANY = 3000
STALLED = 200
STEPS, STEP_SECONDS = 60, 0.5
MORE_STEPS = 2 * STEPS
"""For rounds whose watchers take long until they have caught up."""
LONG_LOG_STEPS = 1500
"""So many events do not fit into what lies between a scheduler and a client that does not read."""


@dataclass(frozen=True)
class Result:
    """What one round showed."""

    name: str
    watched: Sequence[Watched]
    last_seqs: Mapping[str, int]
    """The number of each render's last event."""
    settled_at: float
    delays_ms: Sequence[float]
    delays_while_opening_ms: Sequence[float]
    watched_seconds: float
    scheduler_cpu: float
    edge_cpu: float
    crowd_cpu: float
    memory_mb: tuple[float, float, float]
    """The scheduler's before anybody watched, once all did, and at the end."""
    step_seconds: float
    """What a step of a render took; the median over the renders."""

    @property
    def faults(self) -> int:
        """Watchers who did not get every event once and in order."""
        complete = {render_id: list(range(1, last + 1)) for render_id, last in self.last_seqs.items()}
        return sum([event.seq for event in one.events] != complete[one.render_id] for one in self.watched)


def watch(
    name: str, platform: Platform, renders: int, watchers: int, *, steps: int = STEPS, within_seconds: float = 0.2
) -> Result:
    """Begin renders, let a crowd watch them to their ends, and say how that went."""
    before = _megabytes(platform.scheduler)
    ids = [platform.begin(steps, STEP_SECONDS) for _ in range(renders)]
    for render_id in ids:
        platform.until(render_id, "running")
    crowd = Crowd(platform.address, platform.key, list(islice(cycle(ids), watchers)), within_seconds=within_seconds)
    settled_at = crowd.until_all_see() + 1.0
    time.sleep(max(0.0, settled_at - time.time()))
    with_all, began = _megabytes(platform.scheduler), time.time()
    spent = [_processor_seconds(process) for process in (platform.scheduler, platform.edge)]
    watched, crowd_seconds = crowd.results()
    ended = time.time()
    spent = [_processor_seconds(p) - s for p, s in zip((platform.scheduler, platform.edge), spent, strict=True)]
    after = _megabytes(platform.scheduler)
    rendered = [platform.render(render_id) for render_id in ids]
    seconds = statistics.median(r["timing"]["total_ms"] - r["timing"]["queued_ms"] for r in rendered) / 1000
    seconds -= statistics.median(r["timing"].get("cold_start_ms", 0) for r in rendered) / 1000
    delays = [(e.told_at > settled_at, (e.seen_at - e.told_at) * 1000) for one in watched for e in one.events]
    opened_at = max(one.opened_at for one in watched)
    return Result(
        name=name,
        watched=watched,
        last_seqs={r["id"]: r["last_seq"] for r in rendered},
        settled_at=settled_at - 1.0 - opened_at,
        delays_ms=sorted(ms for settled, ms in delays if settled),
        delays_while_opening_ms=sorted(
            (e.seen_at - max(e.told_at, one.opened_at)) * 1000
            for one in watched
            for e in one.events
            if e.told_at <= settled_at
        ),
        watched_seconds=ended - began,
        scheduler_cpu=spent[0] / (ended - began),
        edge_cpu=spent[1] / (ended - began),
        crowd_cpu=crowd_seconds / (ended - began),
        memory_mb=(before, with_all, after),
        step_seconds=seconds / steps,
    )


def main(watchers: int) -> None:
    """Run every round and print the table."""
    results = []
    busy = os.getloadavg()[0]
    for query_per_event in (False, True):
        with (
            tempfile.TemporaryDirectory() as folder,
            scripted_platform(Path(folder), query_per_event=query_per_event) as platform,
        ):
            watch("warming up", platform, SLOTS, 8)
            if query_per_event:
                results.append(watch("a query per event", platform, SLOTS, watchers, steps=MORE_STEPS))
                continue
            results.append(watch("one watcher each", platform, SLOTS, SLOTS))
            results.append(watch(f"{SLOTS} renders", platform, SLOTS, watchers))
            results.append(watch("one render", platform, 1, watchers))
            with ExitStack() as stack:
                stalled = _stalled(platform)
                stack.enter_context(never_reading(platform.address, platform.key, stalled))
                results.append(watch(f"beside {len(stalled)} that never read", platform, SLOTS - 1, watchers))
            results.append(watch("opened within a second", platform, SLOTS, MANY, steps=MORE_STEPS, within_seconds=1.0))
    show(results)
    print(f"load average {busy:.2f} before, {os.getloadavg()[0]:.2f} after; {os.cpu_count()} cores")


def _stalled(platform: Platform) -> list[str]:
    """What those who never read have asked for: half of them a log that is long, half one that grows.

    The latter takes a slot.
    """
    long = platform.begin(LONG_LOG_STEPS, 0.0)
    platform.until(long, "succeeded")
    growing = platform.begin(MORE_STEPS, STEP_SECONDS)
    return [f"/v1/renders/{render_id}/events" for render_id in (long, growing)] * (STALLED // 2)


def show(results: Sequence[Result]) -> None:
    """Print what was measured."""
    usual = results[0].step_seconds
    print(f"steps of {STEP_SECONDS} s, an event each; delays in ms, of what was told after all streams had begun")
    print(
        f"{'':28}{'watchers':>9}{'events/s':>9}{'p50':>7}{'p99':>7}{'max':>7}{'faults':>7}"
        f"{'CPU %: sched':>13}{'edge':>6}{'crowd':>6}{'memory MB':>14}{'steps slower':>13}"
    )
    for r in results:
        memory = "→".join(f"{mb:.0f}" for mb in r.memory_mb)
        delays = [_quantile(r.delays_ms, share) for share in (0.5, 0.99, 1.0)]
        print(
            f"{r.name:28}{len(r.watched):9}{len(r.delays_ms) / r.watched_seconds:9.0f}"
            f"{delays[0]:7.1f}{delays[1]:7.1f}{delays[2]:7.0f}{r.faults:7}"
            f"{100 * r.scheduler_cpu:13.0f}{100 * r.edge_cpu:6.0f}{100 * r.crowd_cpu:6.0f}"
            f"{memory:>14}{100 * (r.step_seconds / usual - 1):12.1f}%"
        )
    print("until all streams had begun: ms from a stream's request, or from the event when it is later, to its receipt")
    for r in results:
        delays = [_quantile(r.delays_while_opening_ms, share) for share in (0.5, 0.99, 1.0)]
        refused = sum(one.status != 200 for one in r.watched)
        print(
            f"{r.name:28}{len(r.watched):9} opened, {refused} refused, all begun {r.settled_at:.2f} s after the last"
            f" request; p50 {delays[0]:.0f} p99 {delays[1]:.0f} max {delays[2]:.0f}"
        )


def _quantile(ordered: Sequence[float], share: float) -> float:
    if not ordered:
        return math.nan
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _megabytes(process: psutil.Process) -> float:
    return process.memory_info().rss / 1e6


def _processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else WATCHERS)
