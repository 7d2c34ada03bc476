"""The platform as it runs, but for its workers: those only keep time, so that what is measured is the platform."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import psutil

from forge_cli.edge import EdgeAddresses, envoy_command, write_edge_config
from forge_cli.stack import free_ports
from services.chassis.process import run
from services.scheduler import __main__ as composition
from services.scheduler.adapters.scripted_workers import ScriptedWorkers
from services.scheduler.config import SchedulerSettings
from services.scheduler.domain.render import Render, RenderEvent
from services.scheduler.ports import Assignment, AttemptMoment
from services.scheduler.usecases.watching import Watching

SLUG = "skywork-skyreels-v2"
SLOTS = 8
_SERVICES = ("catalog", "billing-estimate", "accounts", "web")
_QUERY_PER_EVENT = "BENCH_QUERY_PER_EVENT"
_FLEET = f"slots: [{{gpu_type: H200, region: here, count: {SLOTS}, simulated: true, memory_gib: 141}}]\n"


@dataclass(frozen=True)
class Platform:
    """A running platform, with room for SLOTS renders at a time."""

    address: str
    key: str
    client: httpx.Client
    addresses: Mapping[str, str]
    """Where each service is called, in plain text; several addresses are separated by commas."""
    schedulers: Sequence[psutil.Process]
    edge: psutil.Process

    @property
    def scheduler(self) -> psutil.Process:
        """The first of them."""
        return self.schedulers[0]

    def begin(self, steps: int, step_seconds: float) -> str:
        """Begin a render of so many steps; its identifier."""
        seed = steps * 10_000 + round(step_seconds * 1000)  # the only input that reaches a worker as it is
        answer = self.client.post("/v1/renders", json={"model": SLUG, "prompt": "a cat", "seed": seed})
        answer.raise_for_status()
        return answer.json()["id"]

    def render(self, render_id: str) -> dict[str, Any]:
        """A render as it stands."""
        return self.client.get(f"/v1/renders/{render_id}").json()

    def until(self, render_id: str, status: str) -> None:
        """Return once a render has a status."""
        while self.render(render_id)["status"] != status:
            time.sleep(0.1)


@contextmanager
def scripted_platform(
    home: Path, *, query_per_event: bool = False, database_url: str | None = None, schedulers: int = 1
) -> Iterator[Platform]:
    """Run the platform in `home`; `query_per_event` is how watching would be done without the bell's events.

    Its tables are files, or in the PostgreSQL at `database_url`, which several schedulers need.
    """
    *ports, port = free_ports(len(_SERVICES) + schedulers + 1)
    addresses = {name: f"127.0.0.1:{number}" for name, number in zip(_SERVICES, ports, strict=False)}
    replicas = [f"127.0.0.1:{number}" for number in ports[len(_SERVICES) :]]
    addresses["scheduler"] = ",".join(replicas)
    fleet = home / "fleet.yaml"
    fleet.write_text(_FLEET)
    environment = {f"FORGE_{name.replace('-', '_').upper()}_ADDRESS": address for name, address in addresses.items()}
    environment |= {
        "FORGE_HOME": str(home),
        "FORGE_FLEET": str(fleet),
        "GRPC_ENABLE_FORK_SUPPORT": "0",
        "FORGE_PLAINTEXT": "true",
    }
    environment |= {"FORGE_RATE_LIMIT_PER_SECOND": "0"}  # what is measured is not how often one key may ask
    environment |= {_QUERY_PER_EVENT: "1"} if query_per_event else {}
    environment |= {"FORGE_DATABASE_URL": database_url} if database_url else {}
    subprocess.run(
        [sys.executable, "-m", "services.accounts", "first-key"],
        env=os.environ | environment,
        check=True,
        capture_output=True,
    )
    by_name = {name.replace("-", "_"): address for name, address in addresses.items()}
    config = write_edge_config(home / "run", EdgeAddresses(listen=f"127.0.0.1:{port}", **by_name))
    with ExitStack() as stack:
        for name in _SERVICES:
            command = [sys.executable, "-m", f"services.{name.replace('-', '_')}"]
            stack.enter_context(_running(command, home / f"{name}.log", environment))
        command = [sys.executable, "-m", "bench.scripted_platform"]
        running: list[psutil.Process] = []
        for number, address in enumerate(replicas, start=1):
            own = {"FORGE_SCHEDULER_ADDRESS": address, "FORGE_SCHEDULER_REPLICA": "" if number == 1 else str(number)}
            log = home / f"scheduler-{number}.log"
            running.append(stack.enter_context(_running(command, log, environment | own)))
        edge = stack.enter_context(_running(envoy_command(config), home / "edge.log", environment))
        key = (home / "api-key").read_text().strip()
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {key}"},
            timeout=60,
            trust_env=False,
        )
        stack.enter_context(client)
        _until_healthy(client, home)
        yield Platform(f"127.0.0.1:{port}", key, client, addresses, running, edge)


@contextmanager
def _running(command: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[psutil.Process]:
    with log.open("w") as output:
        process = psutil.Popen(command, env=os.environ | environment, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def _until_healthy(client: httpx.Client, home: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if client.get("/healthz").status_code == 200:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(0.1)
    sys.exit(f"the platform is not up: see the logs in {home}")


class Timekeepers(ScriptedWorkers):
    """Workers whose renders say how many steps they take and how long each of them.

    They are there as long as the process is.
    """

    async def __aenter__(self) -> "Timekeepers":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def render(self, address: str, assignment: Assignment, after_seq: int) -> AsyncGenerator[AttemptMoment, None]:
        """Run an attempt."""
        self.total_steps, milliseconds = divmod(int(assignment.inputs["seed"]), 10_000)
        self.step_seconds = milliseconds / 1000
        async for moment in super().render(address, assignment, after_seq):
            yield moment


class QueryPerEvent(Watching):
    """Watching as it would be without the bell's events: whoever is woken asks the store."""

    async def follow(self, render: Render, after_seq: int) -> AsyncGenerator[RenderEvent, None]:
        """The events after `after_seq`, then new ones until the last."""
        with self._bell.listening(render.id) as listener:
            while True:
                for event in await self._store.events(render.id, after_seq, 200):
                    after_seq = event.seq
                    yield event
                    if event.is_last:
                        return
                await listener.heard(15)


def scheduler() -> None:
    """Run the scheduler's own composition with workers that only keep time."""
    workers = Timekeepers()
    stand_ins: dict[str, Any] = {
        "LocalPlacer": lambda *_, **__: workers,
        "GrpcWorkers": lambda *_, **__: workers,
    }
    if os.environ.get(_QUERY_PER_EVENT):
        stand_ins["Watching"] = QueryPerEvent
    settings = SchedulerSettings()

    async def serve(told_to_stop: asyncio.Event) -> None:
        await composition.serve(settings, told_to_stop)

    with mock.patch.multiple(composition, **stand_ins):
        run("scheduler", settings, serve)


if __name__ == "__main__":
    scheduler()
