"""Orders to the process that speaks with Ray, which is started again whenever it or its cluster is lost."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import structlog

from services.chassis.tasks import uninterrupted
from services.scheduler.adapters.spare_workers import Process, begun, drop
from services.scheduler.domain.fleet import Machine

log = structlog.get_logger()

JOIN_SECONDS = 45.0
"""How long joining a cluster may take. Ray gives up after half a minute, or never when its token is refused."""
SILENCE_SECONDS = 10.0
"""How long it may say nothing: it tells of the machines every second."""
_AGAIN_SECONDS, _REACH_SECONDS = 2.0, 5.0
_MOST_BYTES = 2**24
_LAST_WORDS_BYTES = 4_000


class ClusterAway(Exception):
    """The cluster does not answer now."""


class RayLink:
    """A link to the cluster at `address`. It is made when it is first asked for, and ends with the block."""

    def __init__(self, address: str, log_file: Path) -> None:
        self._address = address
        self._log = log_file
        self._keeping: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._numbers = count()
        self._awaited: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._machines: Sequence[Machine] = ()
        self._news = asyncio.Event()

    async def __aenter__(self) -> "RayLink":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])

    async def machines(self) -> AsyncGenerator[Sequence[Machine], None]:
        """The machines of the cluster now, none while it does not answer, and again at each change."""
        self._begin()
        while True:
            news = self._news
            yield self._machines
            await news.wait()

    async def ask(self, do: str, **what: Any) -> Mapping[str, Any]:
        """The answer to an order. Raises ClusterAway, also when the link is lost before the answer came."""
        self._begin()
        try:
            async with asyncio.timeout(_REACH_SECONDS):
                while self._writer is None:
                    await self._news.wait()
        except TimeoutError as error:
            raise ClusterAway from error
        number, writer = next(self._numbers), self._writer
        answer = self._awaited[number] = asyncio.get_running_loop().create_future()
        try:
            writer.write(json.dumps({"id": number, "do": do, **what}).encode() + b"\n")
            return await answer
        finally:
            self._awaited.pop(number, None)

    def _begin(self) -> None:
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        """Have a process that has joined the cluster, until canceled."""
        told = ""
        while True:
            has_joined = False
            with suppress(OSError, TimeoutError, ValueError):
                async with self._driver() as (reader, writer):
                    async for said in _lines(reader, JOIN_SECONDS):
                        self._hear(said, writer)
                        has_joined = True
            words = self._last_words()
            if has_joined or words != told:
                told = words
                log.warning("no Ray cluster answers", address=self._address, said=words)
            await asyncio.sleep(_AGAIN_SECONDS)

    @asynccontextmanager
    async def _driver(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A process of its own while the block runs, and what it says and hears."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await begun(lambda: self._spawn(theirs))
        reader, writer = await asyncio.open_connection(sock=ours, limit=_MOST_BYTES)
        try:
            yield reader, writer
        finally:
            writer.close()
            self._lose()
            await uninterrupted(asyncio.to_thread(drop, process))

    def _hear(self, said: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if "machines" in said:
            if self._writer is None:
                log.info("joined a Ray cluster", address=self._address)
            self._show(writer, [Machine(found["labels"], found["resources"]) for found in said["machines"]])
        elif (answer := self._awaited.get(said.pop("id"))) and not answer.done():
            answer.set_result(said)

    def _lose(self) -> None:
        self._show(None, ())
        for answer in self._awaited.values():
            if not answer.done():
                answer.set_exception(ClusterAway())

    def _show(self, writer: asyncio.StreamWriter | None, machines: Sequence[Machine]) -> None:
        if (writer, machines) != (self._writer, self._machines):
            self._writer, self._machines = writer, machines
            self._news.set()
            self._news = asyncio.Event()

    def _spawn(self, theirs: socket.socket) -> Process:
        self._log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._log.open("wb") as words:
            return subprocess.Popen(  # noqa: S603 — a program of ours, with arguments of ours
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "services.scheduler.adapters.ray_driver",
                    str(theirs.fileno()),
                    self._address,
                ],
                env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
            )

    def _last_words(self) -> str:
        with suppress(OSError), self._log.open("rb") as words:
            words.seek(max(0, self._log.stat().st_size - _LAST_WORDS_BYTES))
            lines = [line.strip() for line in words.read().decode(errors="replace").splitlines() if line.strip()]
            return lines[-1] if lines else "nothing"
        return "nothing"


async def _lines(reader: asyncio.StreamReader, patience_seconds: float) -> AsyncIterator[dict[str, Any]]:
    """What a process says, until it says no more. TimeoutError when it is silent, ValueError when it talks nonsense."""
    while True:
        async with asyncio.timeout(patience_seconds):
            line = await reader.readline()
        if not line:
            return
        yield json.loads(line)
        patience_seconds = SILENCE_SECONDS
