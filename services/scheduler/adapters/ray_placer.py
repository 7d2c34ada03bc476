"""Workers as actors of a Ray cluster."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from services.chassis.tasks import uninterrupted
from services.chassis.trust import Certificates
from services.scheduler.adapters.ray_link import ClusterAway, RayLink
from services.scheduler.domain.errors import MachineAbsent, RuntimeStartFailed
from services.scheduler.domain.fleet import Machine, Slot
from services.scheduler.ports import WorkerProcess

log = structlog.get_logger()

_PASSED_ON = ("FORGE_WORKER_", "AWS_", "OTEL_", "HF_")
_ALSO_PASSED_ON = frozenset({"FORGE_COMPILE", "FORGE_PLAINTEXT", "FORGE_SHUTDOWN_GRACE_SECONDS"})
_PATHS = ("_BUNDLE", "_CACHE", "_CERTIFICATE", "_DIR", "_FILE", "_HOME", "_PATH")
"""Ends of the names of variables that lead to something on this machine."""
_WORKER = "inference-worker"


class RayPlacer:
    """Starts each worker on a machine of the cluster that has what its slot requires, as a detached actor.

    Actors outlive the scheduler; a worker that nobody asks about ends by itself, and its actor with it. Which worker
    answers at an address is what proves that it is there, so this remembers nothing.
    """

    def __init__(
        self,
        address: str,
        *,
        logs: Path,
        environment: Mapping[str, str],
        certificates: Certificates | None,
        launch_seconds: float,
        stop_seconds: float,
    ) -> None:
        self._link = RayLink(address, logs / "ray.log")
        self._environment = environment
        self._certificates = certificates
        self._launch_seconds = launch_seconds
        self._stop_seconds = stop_seconds

    async def __aenter__(self) -> "RayPlacer":
        await self._link.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._link.__aexit__(*exc_info)

    def machines(self) -> AsyncGenerator[Sequence[Machine], None]:
        """The machines of the cluster, none while it does not answer, and again at each change."""
        return self._link.machines()

    async def launch(self, runtime_id: str, slot: Slot) -> WorkerProcess:
        """Start a worker on a slot; returns once it serves."""
        environment = {**self._environment, "FORGE_WORKER_ID": runtime_id, "FORGE_WORKER_DEVICE": slot.device}
        files: dict[str, str] = {}
        if (own := self._certificates) is not None:
            named = {"ca.pem": own.authority, f"{_WORKER}.pem": own.chain, f"{_WORKER}.key": own.key}
            files = {name: file.read_text("utf-8") for name, file in named.items()}
            environment["FORGE_TLS_DIR"] = "{folder}"
        try:
            found = await self._link.ask(
                "launch",
                runtime_id=runtime_id,
                labels=dict(slot.requirements.labels),
                resources=dict(slot.requirements.resources),
                environment=environment,
                files=files,
                seconds=self._launch_seconds,
            )
        except ClusterAway as error:
            raise MachineAbsent("the Ray cluster does not answer") from error
        except asyncio.CancelledError:
            await uninterrupted(self._drop(runtime_id))
            raise
        if "absent" in found:
            raise MachineAbsent(found["absent"])
        if "address" not in found:
            raise RuntimeStartFailed(found["failed"], retry=True)
        return WorkerProcess(address=found["address"], pid=None)

    async def is_alive(self, runtime_id: str, process: WorkerProcess) -> bool:
        """True: only the worker itself can tell, also while Ray is away."""
        return True

    async def terminate(self, runtime_id: str, process: WorkerProcess, *, kindly: bool = True) -> None:
        """End a worker, kindly first unless it would not hear that. One that cannot be reached ends as an orphan."""
        try:
            await self._link.ask("end", runtime_id=runtime_id, kindly=kindly, seconds=self._stop_seconds)
        except ClusterAway:
            log.warning("a worker is left to end by itself: the Ray cluster does not answer", runtime_id=runtime_id)

    async def _drop(self, runtime_id: str) -> None:
        with suppress(ClusterAway):
            await self._link.ask("drop", runtime_id=runtime_id)


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What workers on other machines get of the scheduler's own environment: nothing that names a path."""
    return {
        name: value
        for name, value in environment.items()
        if (name.startswith(_PASSED_ON) and not name.endswith(_PATHS)) or name in _ALSO_PASSED_ON
    }
