"""Many watchers of one render, some of whom never read what they asked for."""

import os
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import httpx

from bench.crowd import Crowd, never_reading

SKYREELS = "skywork-skyreels-v2"


def test_two_hundred_watchers_get_every_event_in_order_beside_fifty_who_never_read(platform, rest, eventually):
    address = platform.url.removeprefix("http://")
    render = rest.post("/v1/renders", json=platform.small(SKYREELS, num_inference_steps=30)).json()
    eventually(lambda: rest.get(f"/v1/renders/{render['id']}").json()["progress"]["done_steps"], what="a first step")
    with never_reading(address, platform.key, [render["events_url"]] * 50):
        with frozen(platform.worker_pids()):
            eventually(lambda: _active_requests(platform) >= 50, what="asking without reading")
            crowd = Crowd(address, platform.key, [render["id"]] * 200, within_seconds=0.5)
            crowd.until_all_see()
            assert _active_requests(platform) >= 250
        watched, _ = crowd.results()
    last = rest.get(f"/v1/renders/{render['id']}").json()["last_seq"]
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
