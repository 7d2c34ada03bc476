"""Many watchers of one render, some of whom never read what they asked for."""

import os
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import httpx

from bench.crowd import Crowd, never_reading


def test_two_hundred_watchers_get_every_event_in_order_beside_fifty_who_never_read(
    platform, rest, render_under_way, eventually
):
    address, path = platform.url.removeprefix("http://"), f"/v1/renders/{render_under_way}"
    with never_reading(address, platform.key, [f"{path}/events"] * 50):
        with frozen(platform.worker_pids()):
            eventually(lambda: _active_requests(platform) >= 50, what="asking without reading")
            crowd = Crowd(address, platform.key, [render_under_way] * 200, within_seconds=0.5)
            crowd.until_all_see()
            assert _active_requests(platform) >= 250
        watched, _ = crowd.results()
    last = rest.get(path).json()["last_seq"]
    assert [one.status for one in watched] == [200] * 200
    assert {tuple(event.seq for event in one.events) for one in watched} == {tuple(range(1, last + 1))}


@contextmanager
def frozen(pids: Collection[int]) -> Iterator[None]:
    """Let these processes stand still while the block runs, so that nothing ends meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _active_requests(platform):
    admin = (platform.home / "run" / "admin-address").read_text().strip()
    stats = httpx.get(f"http://{admin}/stats?filter=http.edge.downstream_rq_active", trust_env=False).text
    return int(stats.rpartition(":")[2])
