"""What pages of the console weigh and take the server, beside the API call that most of each page comes from.

    python -m bench.pages [rounds]

The platform runs as `forge up` runs it, with the fleet of the pages. Times are those of whole requests over loopback,
through the edge, in milliseconds: the median and the 90th of a hundred. Sizes are as sent, compressed, and for the
first page with everything it loads.
"""

import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from bench.overhead import platform

MODEL = "skywork-skyreels-v2"
PAGES = {
    "/": "/v1/models",
    f"/models/{MODEL}": f"/v1/models/{MODEL}/targets",
    "/renders": "/v1/renders",
    "/status": "/v1/capacity",
    "/account": "/v1/api-keys",
    "/docs": "/v1/account",
    "/docs/api": "/v1/account",
}


def times_ms(client: httpx.Client, path: str, rounds: int) -> list[float]:
    """What `rounds` requests took, sorted."""
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        client.get(path, headers={"accept": "text/html"}).raise_for_status()
        taken.append((time.perf_counter() - begun) * 1000)
    return sorted(taken)


def sent_bytes(client: httpx.Client, path: str) -> int:
    """The size of an answer as it is sent."""
    with client.stream("GET", path, headers={"accept": "text/html"}) as response:
        return sum(len(part) for part in response.iter_raw())


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder, platform(Path(folder), fleet="pages") as client:
        print(f"{'page':<32} {'kB':>6} {'p50':>7} {'p90':>7}   {'beside it':<44} {'p50':>7}")
        for page, call in PAGES.items():
            times_ms(client, page, 5)
            taken, beside = times_ms(client, page, rounds), times_ms(client, call, rounds)
            print(
                f"{page:<32} {sent_bytes(client, page) / 1000:6.1f} {statistics.median(taken):7.1f}"
                f" {taken[int(0.9 * len(taken))]:7.1f}   {call:<44} {statistics.median(beside):7.1f}"
            )
        html = client.get("/").text
        parts = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', html)) | {"/static/js/swap.js"}
        weight = sum(sent_bytes(client, part) for part in parts | {"/"})
        print(f"\nthe first page with {len(parts)} files: {weight / 1000:.1f} kB")


if __name__ == "__main__":
    main()
