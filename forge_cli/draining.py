"""Lets the edge finish what it is serving before it ends."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from forge_cli.edge import ADMIN_ADDRESS_FILE, DRAIN_TOKEN_FILE

_SERVED_NOW = "http.edge.downstream_rq_active"
_LOOK_EVERY_SECONDS = 0.1


def drain_edge(run_dir: Path, *, patience_seconds: float, say: Callable[[str], None] = lambda _: None) -> None:
    """Have the edge refuse new connections, and wait until it serves nothing, for `patience_seconds` at most.

    From then on `/healthz` is 503, and a connection that was kept open is closed with its next answer. `say` is called
    once where there is something to wait for. An edge that does not run has nothing to finish.
    """
    try:
        address = (run_dir / ADMIN_ADDRESS_FILE).read_text("utf-8").strip()
        token = (run_dir / DRAIN_TOKEN_FILE).read_text("utf-8")
    except FileNotFoundError:
        return
    give_up_at = time.monotonic() + patience_seconds
    has_said = False
    try:
        with httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=2.0) as admin:
            for step in ("/healthcheck/fail", "/drain_listeners"):
                admin.post(f"{step}?token={token}").raise_for_status()
            while (served := _served_now(admin)) and time.monotonic() < give_up_at:
                if not has_said:
                    has_said = True
                    say(f"{served} {'call has' if served == 1 else 'calls have'} {patience_seconds:g} s to end")
                time.sleep(_LOOK_EVERY_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL):
        pass  # it is gone, or was never there


def _served_now(admin: httpx.Client) -> int:
    """How many requests the edge is answering, streams included."""
    answer = admin.get("/stats", params={"filter": rf"^{re.escape(_SERVED_NOW)}$"})
    return int(answer.text.rpartition(":")[2] or 0)
