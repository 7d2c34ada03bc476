"""Workers as processes of this machine."""

import asyncio
import json
import os
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
        self, run_dir: Path, *, environment: Mapping[str, str], launch_seconds: float, stop_seconds: float
    ) -> None:
        self._run_dir = run_dir
        self._environment = environment
        self._launch_seconds = launch_seconds
        self._stop_seconds = stop_seconds

    async def launch(self, runtime_id: str, slot: Slot) -> WorkerProcess:
        """Start a worker on a slot; returns once it serves."""
        self._run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        address_file = self._address_file(runtime_id)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.inference_worker",
            env={
                **os.environ,
                **self._environment,
                "FORGE_WORKER_ID": runtime_id,
                "FORGE_WORKER_ADDRESS_FILE": str(address_file),
                "FORGE_WORKER_DEVICE": slot.device,
            },
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self._launch_seconds):
                while not address_file.exists():
                    if process.returncode is not None:
                        raise RuntimeStartFailed(f"the worker ended with code {process.returncode}", retry=True)
                    await asyncio.sleep(POLL_SECONDS)
            return WorkerProcess(address=json.loads(address_file.read_text())["address"], pid=process.pid)
        except TimeoutError as error:
            raise RuntimeStartFailed("the worker did not serve in time", retry=True) from error
        finally:
            if not address_file.exists() and process.returncode is None:
                process.kill()

    async def is_alive(self, runtime_id: str, process: WorkerProcess) -> bool:
        """Whether the process is there and is that worker."""
        return self._process(runtime_id, process) is not None

    async def terminate(self, runtime_id: str, process: WorkerProcess) -> None:
        """End a worker, kindly first."""
        found = self._process(runtime_id, process)
        if found is not None:
            await asyncio.to_thread(self._end, found)
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
