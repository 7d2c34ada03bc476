"""What Ray runs on a machine of its cluster for a worker: an actor that has the worker as its child.

This module is imported there, by Ray's own processes: beside the standard library and Ray it needs next to nothing.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import ray

from services.scheduler.adapters.worker_environment import inherited

POLL_SECONDS = 0.02
_GUESSED_BY_RAY = "OMP_NUM_THREADS"


class WorkerHost:
    """A worker on this machine, with the devices that Ray gave this process. It ends when the worker does.

    The worker hears of it when this process ends, however that happens: it then stores where its render stands.
    """

    def __init__(self, unasked_seconds: float) -> None:
        """Wait so long to be told what to run; whoever started this may be gone."""
        self._folder = tempfile.TemporaryDirectory(prefix="forge-worker-")
        self._worker: subprocess.Popen[bytes] | None = None
        self._unasked = threading.Timer(unasked_seconds, os._exit, (0,))
        self._unasked.daemon = True
        self._unasked.start()

    def is_here(self) -> bool:
        """Answers once Ray has found a place for this."""
        return True

    def serve(self, environment: Mapping[str, str], files: Mapping[str, str], seconds: float) -> dict[str, object]:
        """Start the worker; returns its `address` once it serves, or why it does not: `ended` with a code, or `slow`.

        `files` are written to a folder that only this user can read; `{folder}` in the environment stands for it.
        """
        self._unasked.cancel()
        folder = Path(self._folder.name)
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
        host = ray.util.get_node_ip_address()
        address_file = folder / "address.json"
        own = {name: value.replace("{folder}", str(folder)) for name, value in environment.items()}
        own["FORGE_WORKER_LISTEN"] = f"[{host}]:0" if ":" in host else f"{host}:0"
        own["FORGE_WORKER_ADDRESS_FILE"] = str(address_file)
        given = inherited()
        given.pop(_GUESSED_BY_RAY, None)
        worker = self._worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "services.inference_worker", "--tethered"],
            env={**given, **own},
            stdin=subprocess.PIPE,  # its end is how the worker hears that this process is gone
            start_new_session=True,  # and has time to store what it has: Ray kills the others of a process group
        )
        until = time.monotonic() + seconds
        while not address_file.exists():
            if worker.poll() is not None:
                return {"ended": worker.returncode, "host": host}
            if time.monotonic() > until:
                return {"slow": seconds, "host": host}
            time.sleep(POLL_SECONDS)
        threading.Thread(target=self._end_with, args=(worker,), daemon=True).start()
        return {"address": json.loads(address_file.read_text("utf-8"))["address"]}

    def end(self, *, kindly: bool, seconds: float) -> None:
        """End the worker, kindly for so long; returns once it is gone."""
        if self._worker is None:
            return
        if kindly:
            self._worker.terminate()
            try:
                self._worker.wait(seconds)
            except subprocess.TimeoutExpired:
                kindly = False
        if not kindly:
            self._worker.kill()
            self._worker.wait()

    def _end_with(self, worker: subprocess.Popen[bytes]) -> None:
        worker.wait()
        self._folder.cleanup()
        time.sleep(1.0)  # whoever asked for this end hears that it came
        os._exit(0)  # there is no other way for an actor to end from one of its own threads
