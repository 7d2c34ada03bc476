"""Processes that have a worker's libraries imported already, and wait to be told which worker they are."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import structlog

from services.chassis.tasks import uninterrupted

log = structlog.get_logger()

Process = subprocess.Popen[bytes]


class SpareWorkers:
    """Keeps `wanted` of them while it is open; use it as an async context manager.

    Their stdin is a pipe from this process: whatever ends it ends them too. `start` starts one, and may block.
    """

    def __init__(self, wanted: int, start: Callable[[], Process]) -> None:
        self._wanted = wanted
        self._start = start
        self._waiting: list[Process] = []
        self._is_open = False
        self._launches = 0
        self._filling = asyncio.Lock()

    async def __aenter__(self) -> "SpareWorkers":
        self._is_open = True
        await self._fill()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._is_open = False
        async with self._filling:
            for spare in self._waiting:
                drop(spare)
            self._waiting.clear()

    @property
    def pids(self) -> list[int]:
        """The processes that wait."""
        return [spare.pid for spare in self._waiting]

    def become(self, environment: Mapping[str, str]) -> Process | None:
        """One of them, told to become the worker of this environment; None when there is none."""
        while self._waiting:
            spare = self._waiting.pop(0)
            if _told(spare, environment):
                return spare
            drop(spare)
            log.warning("a spare worker ended by itself", pid=spare.pid, code=spare.returncode)
        return None

    @asynccontextmanager
    async def held_back(self) -> AsyncIterator[None]:
        """While the block runs none is started: its imports would be in the way of a worker that somebody waits for."""
        self._launches += 1
        try:
            yield
        finally:
            self._launches -= 1
            await uninterrupted(self._fill())  # the next launch wants one also when this one is given up

    async def _fill(self) -> None:
        async with self._filling:
            while self._is_open and not self._launches and len(self._waiting) < self._wanted:
                try:
                    self._waiting.append(await begun(self._start))
                except OSError:
                    log.exception("a spare worker could not be started")
                    return


def _told(spare: Process, environment: Mapping[str, str]) -> bool:
    """Whether it lives and heard."""
    if spare.poll() is not None or spare.stdin is None:
        return False
    try:
        with spare.stdin as pipe:
            pipe.write(json.dumps(dict(environment)).encode() + b"\n")
    except BrokenPipeError:
        return False
    return True


async def begun(start: Callable[[], Process]) -> Process:
    """Start a process, which ends again if the caller is canceled meanwhile.

    In a thread and without asyncio: a fork while gRPC is at work can crash the child.
    """
    starting = asyncio.ensure_future(asyncio.to_thread(start))
    try:
        return await uninterrupted(starting)
    except asyncio.CancelledError:
        if not starting.cancelled() and starting.exception() is None:
            drop(starting.result())
        raise


def drop(process: Process) -> None:
    """End a process that has nothing to lose."""
    if process.stdin is not None:
        process.stdin.close()
    process.kill()
    process.wait()
