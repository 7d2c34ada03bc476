"""The process that speaks with Ray for the scheduler: `python -m services.scheduler.adapters.ray_driver FD ADDRESS`.

Ray ends a driver that has lost its cluster for a minute, whatever else the process does, so the scheduler is none. It
holds the other end of the socket FD: each line is an order as JSON, each is answered, and the machines of the cluster
are told every second. When the scheduler is gone, so is this process; what it started goes on.
"""

import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from services.scheduler.adapters.ray_host import WorkerHost
from services.scheduler.domain.fleet import Machine, Requirements

NAMESPACE = "forge"
TELL_SECONDS = 1.0
_UNASKED_SECONDS = 60.0
_MOST_AT_ONCE = 256
_GONE_SECONDS = 10.0

log = logging.getLogger("forge.ray")


@dataclass(frozen=True)
class Order:
    """A worker to be started, and the machine that it may be on."""

    runtime_id: str
    labels: Mapping[str, str]
    resources: Mapping[str, float]
    environment: Mapping[str, str]
    files: Mapping[str, str]
    seconds: float

    @property
    def requirements(self) -> Requirements:
        """What its machine must have."""
        return Requirements(tuple(self.labels.items()), tuple(self.resources.items()))


class Driver:
    """Does what it is told over a socket, until that closes."""

    def __init__(self, link: socket.socket) -> None:
        self._orders = link.makefile("r", encoding="utf-8")
        self._answers = link.makefile("w", encoding="utf-8")
        self._answering = threading.Lock()
        self._dropped: set[str] = set()
        self._machines: list[Machine] = []

    def run(self) -> None:
        """Work until the scheduler is gone or the cluster does not answer any more."""
        threading.Thread(target=self._tell_machines, daemon=True).start()
        doing: Mapping[str, Callable[..., dict[str, Any]]] = {
            "launch": self._launch,
            "drop": self._drop,
            "end": self._end,
        }
        pool = ThreadPoolExecutor(_MOST_AT_ONCE)
        for line in self._orders:
            order = json.loads(line)
            pool.submit(self._do, order.pop("id"), doing[order.pop("do")], order)
        os._exit(0)

    def _do(self, number: int, what: Callable[..., dict[str, Any]], order: Mapping[str, Any]) -> None:
        try:
            answer = what(**order)
        except Exception as error:  # whatever Ray raises: its client has errors of its own
            log.exception("an order failed")
            answer = {"failed": f"Ray says {type(error).__name__}"}
        self._say({"id": number, **answer})

    def _say(self, what: Mapping[str, Any]) -> None:
        with self._answering:
            self._answers.write(json.dumps(what) + "\n")
            self._answers.flush()

    def _tell_machines(self) -> None:
        try:
            while True:
                there = [node for node in ray.nodes() if node["Alive"]]
                self._machines = [Machine(node["Labels"], node["Resources"]) for node in there]
                self._say({"machines": [asdict(machine) for machine in self._machines]})
                time.sleep(TELL_SECONDS)
        except Exception:  # the cluster or the scheduler is gone
            log.exception("the cluster does not answer")
            os._exit(1)

    def _launch(self, **what: Any) -> dict[str, Any]:
        """Start a worker on a machine with the labels of an order; the answer of `_served`."""
        order = Order(**what)
        until = time.monotonic() + order.seconds
        host: Any = (
            ray.remote(WorkerHost)
            .options(
                name=order.runtime_id,
                lifetime="detached",
                num_cpus=order.resources.get("CPU", 0),
                num_gpus=order.resources.get("GPU", 0),
                resources={name: n for name, n in order.resources.items() if name not in ("CPU", "GPU")},
                label_selector=dict(order.labels),
                max_restarts=0,
            )
            .remote(_UNASKED_SECONDS)
        )
        try:
            found = self._served(host, order, until)
        except Exception:
            self._kill(host)
            raise
        if order.runtime_id in self._dropped:
            self._dropped.discard(order.runtime_id)
            found = {"failed": "it was given up"}
        if "address" not in found:
            self._kill(host)
        return found

    def _served(self, host: Any, order: Order, until: float) -> dict[str, Any]:
        """The `address` of the worker; `absent` is why it has no machine, `failed` why it does not serve on one."""
        try:
            here = host.is_here.remote()
            while not ray.wait([here], timeout=TELL_SECONDS)[0]:
                if not any(order.requirements.count_on(machine) for machine in self._machines):
                    return {"absent": "its machine went away"}
                if time.monotonic() > until:
                    return {"absent": "other work of the Ray cluster has its machines"}
            ray.get(here)
        except RayActorError as error:
            log.warning("a host has no machine: %s", error)
            return {"absent": "its machine went away"}
        left = max(1.0, until - time.monotonic())
        serving = host.serve.remote(dict(order.environment), dict(order.files), left)
        try:
            found: Any = ray.get(serving, timeout=left + _GONE_SECONDS)
        except GetTimeoutError:
            return {"failed": "Ray did not start the worker in time"}
        except RayActorError as error:
            log.warning("a host ended: %s", error)
            return {"failed": "Ray ended it, or its machine was lost"}
        if "ended" in found:
            what = f"ended with code {found['ended']}; Ray's log there says why"
            return {"failed": f"the worker on {found['host']} {what}"}
        if "slow" in found:
            return {"failed": f"the worker on {found['host']} did not serve in time"}
        return found

    def _drop(self, runtime_id: str) -> dict[str, Any]:
        """Give up a launch that may be under way."""
        self._dropped.add(runtime_id)
        with suppress(ValueError):
            self._kill(ray.get_actor(runtime_id))
        return {}

    def _end(self, runtime_id: str, *, kindly: bool, seconds: float) -> dict[str, Any]:
        """End a worker; returns once it and its host are gone."""
        try:
            host: Any = ray.get_actor(runtime_id)
        except ValueError:  # it is gone
            return {}
        with suppress(RayError):
            ray.get(host.end.remote(kindly=kindly, seconds=seconds), timeout=seconds + _GONE_SECONDS)
        self._kill(host)
        return {}

    def _kill(self, host: Any) -> None:
        with suppress(RayError, ValueError):
            ray.kill(host)


def main() -> None:
    """Join the cluster and work."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    link = socket.socket(fileno=int(sys.argv[1]))
    ray.init(address=sys.argv[2], namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    Driver(link).run()


if __name__ == "__main__":
    main()
