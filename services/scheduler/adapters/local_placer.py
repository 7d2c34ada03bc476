"""Workers as processes of this machine."""

import asyncio
import fcntl
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import structlog

from services.chassis.tasks import uninterrupted
from services.scheduler.adapters.spare_workers import Process, SpareWorkers, begun, drop
from services.scheduler.adapters.worker_environment import inherited
from services.scheduler.domain.errors import RuntimeStartFailed
from services.scheduler.domain.fleet import Slot
from services.scheduler.ports import WorkerProcess

log = structlog.get_logger()

POLL_SECONDS = 0.02


class LocalPlacer:
    """Starts `python -m services.inference_worker` as children.

    Each is in a session of its own, so that it outlives a scheduler that dies; one nobody asks about ends by itself.
    As an async context manager it keeps so many spares, which have done their imports before somebody waits for them.
    """

    def __init__(
        self,
        home: Path,
        *,
        environment: Mapping[str, str],
        launch_seconds: float,
        stop_seconds: float,
        spares: int = 0,
    ) -> None:
        self._run_dir = home / "run"
        self._log = home / "logs" / "inference-worker.log"
        self._environment = environment
        self._launch_seconds = launch_seconds
        self._stop_seconds = stop_seconds
        self._children: dict[int, Process] = {}
        self.spares = SpareWorkers(spares, lambda: self._spawn({}, "--waiting"))

    async def __aenter__(self) -> "LocalPlacer":
        await self.spares.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.spares.__aexit__(*exc_info)

    async def launch(self, runtime_id: str, slot: Slot) -> WorkerProcess:
        """Start a worker on a slot; returns once it serves."""
        address_file = self._address_file(runtime_id)
        own = {
            "FORGE_WORKER_ID": runtime_id,
            "FORGE_WORKER_ADDRESS_FILE": str(address_file),
            "FORGE_WORKER_DEVICE": slot.device,
        }
        process: Process | None = None
        try:
            async with self.spares.held_back():
                process = self.spares.become(own)
                if process is None or not await self._serves(process, address_file.exists):
                    process = await begun(lambda: self._spawn(own))
                    if not await self._serves(process, address_file.exists):
                        raise RuntimeStartFailed(f"the worker ended with code {process.returncode}", retry=True)
        except (Exception, asyncio.CancelledError):  # given up at whatever moment, nobody else knows of it
            if process is not None:
                await uninterrupted(asyncio.to_thread(drop, process))
            address_file.unlink(missing_ok=True)
            raise
        self._children[process.pid] = process
        return WorkerProcess(address=json.loads(address_file.read_text())["address"], pid=process.pid)

    async def _serves(self, process: Process, says_so: Callable[[], bool]) -> bool:
        """Wait until it does; False when it ended instead. Raises RuntimeStartFailed when that takes too long."""
        try:
            async with asyncio.timeout(self._launch_seconds):
                while not says_so():
                    if process.poll() is not None:
                        return False
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as error:
            raise RuntimeStartFailed("the worker did not serve in time", retry=True) from error
        return True

    def _spawn(self, environment: Mapping[str, str], *arguments: str) -> Process:
        for directory in (self._run_dir, self._log.parent):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._log.open("ab") as log:  # a file of its own: a pipe of the scheduler's would break with the scheduler
            return subprocess.Popen(  # noqa: S603 — a program of ours, with arguments of ours
                [sys.executable, "-m", "services.inference_worker", *arguments],
                env={**inherited(), **self._environment, **environment},
                stdin=subprocess.PIPE if arguments else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def is_alive(self, runtime_id: str, process: WorkerProcess) -> bool:
        """Whether the process is there and is that worker."""
        return self._process(runtime_id, process) is not None

    async def terminate(self, runtime_id: str, process: WorkerProcess, *, kindly: bool = True) -> None:
        """End a worker, kindly first unless it would not hear that."""
        found = self._process(runtime_id, process)
        if found is not None:
            await asyncio.to_thread(self._end, found, kindly)
        if process.pid is not None and (child := self._children.pop(process.pid, None)):
            with suppress(subprocess.TimeoutExpired):  # its last threads may take a moment
                await asyncio.to_thread(child.wait, self._stop_seconds)
        self._address_file(runtime_id).unlink(missing_ok=True)

    def _end(self, process: psutil.Process, kindly: bool) -> None:
        try:
            if kindly:
                process.terminate()
            else:
                process.kill()
            process.wait(self._stop_seconds)
        except psutil.TimeoutExpired:
            log.warning("worker killed: it did not end in time", pid=process.pid)
            process.kill()
            process.wait(self._stop_seconds)
        except psutil.NoSuchProcess:
            pass

    def _address_file(self, runtime_id: str) -> Path:
        return self._run_dir / f"{runtime_id}.json"

    def _process(self, runtime_id: str, process: WorkerProcess) -> psutil.Process | None:
        """The process, if it still is that worker: pids are used again, but a worker holds its address file locked."""
        if process.pid is None:  # that of another placer, on a machine that is not this one
            return None
        try:
            found = psutil.Process(process.pid)
            if found.status() == psutil.STATUS_ZOMBIE:  # its threads may hold the lock a moment longer
                return None
            with self._address_file(runtime_id).open("rb") as file:
                if json.load(file)["pid"] == process.pid and _is_locked(file.fileno()):
                    return found
        except (psutil.Error, OSError):
            pass
        return None


def _is_locked(descriptor: int) -> bool:
    """Whether another process holds a lock on the open file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
