"""Composition root of a worker: `python -m services.inference_worker`.

With `--waiting` it is told over stdin which worker it is; with `--tethered` it is told to stop by the end of stdin.
"""

import asyncio
import fcntl
import json
import os
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import structlog

from services.chassis.clock import SystemClock
from services.chassis.objects import object_store
from services.chassis.process import run, settings_of
from services.chassis.server import serving
from services.chassis.trust import Trust
from services.inference_worker.adapters.late_engine_loader import LateEngineLoader
from services.inference_worker.adapters.obstore_objects import ObstoreObjects
from services.inference_worker.adapters.pillow_pictures import PillowPictures
from services.inference_worker.adapters.pyav_video_encoder import PyAvVideoEncoder
from services.inference_worker.adapters.serial_thread import SerialThread
from services.inference_worker.adapters.tether import stop_at_the_end_of_stdin
from services.inference_worker.adapters.waiting import wait_to_be_told
from services.inference_worker.config import WorkerSettings
from services.inference_worker.servicer import mount
from services.inference_worker.usecases.worker import InferenceWorker

log = structlog.get_logger()

_SHARE_FOR_THE_ATTEMPT = 0.8
"""How much of the grace the running attempt may take; the rest is for the calls that then end."""


async def serve(
    settings: WorkerSettings, device: SerialThread, encoding: SerialThread, told_to_stop: asyncio.Event
) -> None:
    """Serve until told to stop, or until nobody has called for the orphan timeout.

    Then the attempt is stopped, those who follow it hear how it ended, and the server closes.
    """
    async with AsyncExitStack() as stack:
        stack.callback(device.close)
        stack.callback(encoding.close)
        worker = InferenceWorker(
            settings.worker_id,
            loader=LateEngineLoader(settings),
            encoder=PyAvVideoEncoder(),
            pictures=PillowPictures(),
            objects=ObstoreObjects(object_store(settings)),
            device=device,
            encoding=encoding,
            clock=SystemClock(),
            checkpoint_seconds=settings.worker_checkpoint_seconds,
            storage_patience_seconds=settings.worker_storage_patience_seconds,
        )
        attempt_seconds = _SHARE_FOR_THE_ATTEMPT * settings.shutdown_grace_seconds
        port = await stack.enter_async_context(
            serving(
                settings.worker_listen,
                [mount(worker)],
                grace_seconds=settings.shutdown_grace_seconds - attempt_seconds,
                trust=Trust.of("inference-worker", settings),
                drain=lambda: worker.stop(attempt_seconds),
            )
        )
        if settings.worker_address_file:
            announce(settings.worker_address_file, settings.worker_id, f"{_host(settings.worker_listen)}:{port}")
        await _first_of(told_to_stop.wait(), worker.until_orphaned(settings.worker_orphan_timeout_seconds))


def announce(file: Path, worker_id: str, address: str) -> None:
    """Say where this worker serves; a reader sees all of it or nothing.

    The file stays locked as long as this process lives, which pids, being used again, cannot show.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    locked = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # never closed: the system lets go of it
    fcntl.flock(locked, fcntl.LOCK_EX)
    os.write(locked, json.dumps({"worker_id": worker_id, "pid": os.getpid(), "address": address}).encode())
    draft.replace(file)


def _host(listen: str) -> str:
    return listen.rpartition(":")[0]


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when the first of `waits` does; the others are given up."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def main() -> None:
    """Run a worker."""
    if sys.argv[1:] == ["--waiting"]:
        wait_to_be_told()
    if sys.argv[1:] == ["--tethered"]:
        stop_at_the_end_of_stdin()
    settings = settings_of(WorkerSettings)
    device, encoding = SerialThread("device"), SerialThread("encoding")
    run("inference-worker", settings, lambda told_to_stop: serve(settings, device, encoding, told_to_stop))
    if device.is_busy or encoding.is_busy:
        # A step or an import cannot be interrupted, and Python would wait for its thread.
        log.warning("ended in the middle of work", device=device.is_busy, encoding=encoding.is_busy)
        os._exit(0)


if __name__ == "__main__":
    main()
