"""Workers as processes of this machine."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import structlog

from services.scheduler.domain.errors import RuntimeStartFailed
from services.scheduler.domain.fleet import Slot
from services.scheduler.ports import WorkerProcess

log = structlog.get_logger()

POLL_SECONDS = 0.02


class LocalPlacer:
    """Starts `python -m services.inference_worker` as children.

    Each is in a session of its own, so that it outlives a scheduler that dies; one nobody asks about ends by itself.
    """

    def __init__(
        self, home: Path, *, environment: Mapping[str, str], launch_seconds: float, stop_seconds: float
    ) -> None:
        self._run_dir = home / "run"
        self._log = home / "logs" / "inference-worker.log"
        self._environment = environment
        self._launch_seconds = launch_seconds
        self._stop_seconds = stop_seconds
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    async def launch(self, runtime_id: str, slot: Slot) -> WorkerProcess:
        """Start a worker on a slot; returns once it serves."""
        address_file = self._address_file(runtime_id)
        # In a thread and without asyncio: a fork while gRPC is at work can crash the child.
        process = await asyncio.to_thread(self._spawn, runtime_id, slot)
        serves = False
        try:
            async with asyncio.timeout(self._launch_seconds):
                while not address_file.exists():
                    if process.poll() is not None:
                        raise RuntimeStartFailed(f"the worker ended with code {process.returncode}", retry=True)
                    await asyncio.sleep(POLL_SECONDS)
            serves = True
            return WorkerProcess(address=json.loads(address_file.read_text())["address"], pid=process.pid)
        except TimeoutError as error:
            raise RuntimeStartFailed("the worker did not serve in time", retry=True) from error
        finally:
            if serves:
                self._children[process.pid] = process
            else:
                process.kill()
                await asyncio.to_thread(process.wait)

    def _spawn(self, runtime_id: str, slot: Slot) -> "subprocess.Popen[bytes]":
        for directory in (self._run_dir, self._log.parent):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._log.open("ab") as log:  # a file of its own: a pipe of the scheduler's would break with the scheduler
            return subprocess.Popen(
                [sys.executable, "-m", "services.inference_worker"],
                env={
                    **os.environ,
                    **self._environment,
                    "FORGE_WORKER_ID": runtime_id,
                    "FORGE_WORKER_ADDRESS_FILE": str(self._address_file(runtime_id)),
                    "FORGE_WORKER_DEVICE": slot.device,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def is_alive(self, runtime_id: str, process: WorkerProcess) -> bool:
        """Whether the process is there and is that worker."""
        return self._process(runtime_id, process) is not None

    async def terminate(self, runtime_id: str, process: WorkerProcess) -> None:
        """End a worker, kindly first."""
        found = self._process(runtime_id, process)
        if found is not None:
            await asyncio.to_thread(self._end, found)
        if child := self._children.pop(process.pid, None):
            child.poll()  # reaps it
        self._address_file(runtime_id).unlink(missing_ok=True)

    def _end(self, process: psutil.Process) -> None:
        try:
            process.terminate()
            process.wait(self._stop_seconds)
        except psutil.TimeoutExpired:
            log.warning("worker killed: it did not end in time", pid=process.pid)
            process.kill()
            process.wait(self._stop_seconds)
        except psutil.NoSuchProcess:
            pass

    def _address_file(self, runtime_id: str) -> Path:
        return self._run_dir / f"{runtime_id}.json"

    @staticmethod
    def _process(runtime_id: str, process: WorkerProcess) -> psutil.Process | None:
        """The process, if the pid still belongs to that worker: pids are reused."""
        try:
            found = psutil.Process(process.pid)
            if found.status() != psutil.STATUS_ZOMBIE and found.environ().get("FORGE_WORKER_ID") == runtime_id:
                return found
        except psutil.Error:
            pass
        return None
