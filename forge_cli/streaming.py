"""A render's video while it is made, from its first frames on: into a file that grows, or a pipe to a player."""

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import IO

from forge.scheduler.v1.render_pb2 import RenderEvent
from forge.scheduler.v1.render_service_pb2 import GetVideoRequest
from grpc import aio

from forge_cli.client import Client
from forge_cli.failures import CommandFailed
from forge_cli.patience import Patience
from forge_cli.statuses import from_call
from forge_cli.videos import how_to_fetch
from forge_cli.watching import is_passing

STANDARD_OUTPUT = Path("-")
PLAYER = "ffplay -fpsprobesize 0 -"  # otherwise it waits for twenty frames before it shows one

_SILENCE_SECONDS = 600.0  # nothing comes between two pieces, and a slow device takes minutes for one
_GRACE_SECONDS = 5.0
_PASSING_REASONS = frozenset({"VIDEO_NOT_READY", "VIDEO_CUT_OFF"})


class LiveVideo:
    """Fetches the video of one render and passes it on while it grows. An async context manager.

    It is told every event. It begins with the first one that tells of something to play, and again with the next one
    after the stream broke: as when a connection is lost, or when the render goes on at another place. Once the render
    has ended `patience` says how long what is left is waited for.
    """

    def __init__(self, client: Client, render_id: str, path: Path, patience: Patience) -> None:
        self._client = client
        self._patience = patience
        self._render_id = render_id
        self._outlet = Outlet(path)
        self._fetching: asyncio.Task[None] | None = None
        self._done = False

    async def __aenter__(self) -> "LiveVideo":
        self._outlet.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        self._outlet.close()

    def hear(self, event: RenderEvent) -> None:
        """Take note of an event. CommandFailed when the video cannot be fetched or written."""
        if event.progress.HasField("playable_seconds"):
            self._begin()

    async def finish(self) -> None:
        """Fetch what is left of a render that has succeeded. CommandFailed when it does not come."""
        trouble = CommandFailed("the video stopped arriving", hints=[how_to_fetch(self._render_id)])
        while True:
            await self._begin()
            if self._done:
                return
            await self._patience.bear(trouble)

    async def give_up(self) -> None:
        """Take what is still on its way of a render that has not succeeded."""
        if self._fetching is not None:
            await asyncio.wait([self._fetching], timeout=_GRACE_SECONDS)

    def _begin(self) -> asyncio.Task[None]:
        """The fetch that is under way, or the last one if it was the last; otherwise a new one."""
        if self._fetching is None or (self._fetching.done() and not self._done):
            if self._fetching is not None:
                self._fetching.result()
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        """Pass on what was not passed on yet; returns when the video is complete, or when later there may be more."""
        self._outlet.start_over()
        request = GetVideoRequest(render_id=self._render_id)
        renders = self._client.renders
        try:
            parts = self._client.stream(renders.GetVideo, request, silence_seconds=_SILENCE_SECONDS)
            async with aclosing(parts):
                async for part in parts:
                    await self._outlet.write(part.data)
            self._done = True
        except TimeoutError:
            pass  # a connection that fell silent
        except BrokenPipeError:
            self._done = True  # the player has seen enough
        except OSError as error:
            raise CommandFailed(f"cannot write the video: {error.strerror}") from error
        except OtherVideo:
            raise CommandFailed(
                f"{self._render_id} began again: what was streamed of it cannot be taken back",
                hints=[how_to_fetch(self._render_id)],
            ) from None
        except aio.AioRpcError as error:
            trouble = from_call(error, self._client.api_base)
            if not (is_passing(error) or trouble.reason in _PASSING_REASONS):
                raise trouble from error


class OtherVideo(Exception):
    """The bytes that came are not those a reader was already given."""


class Outlet:
    """Takes a video as it comes: a file, or for the path "-" the standard output.

    The video may start over. Bytes that came before are not written again; where others come, a file is cut there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_pipe = path == STANDARD_OUTPUT
        self._file: IO[bytes]
        self._written = bytearray()
        self._place = 0

    def open(self) -> None:
        """Begin. CommandFailed when nothing can be written there."""
        if self._is_pipe:
            self._file = sys.stdout.buffer
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
        except OSError as error:
            raise CommandFailed(f"cannot write {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Nothing more will come."""
        if not self._is_pipe:
            self._file.close()

    def start_over(self) -> None:
        """The next bytes are the video's first."""
        self._place = 0

    async def write(self, data: bytes) -> None:
        """Take the next bytes, as fast as a reader takes them. Raises OtherVideo, BrokenPipeError, OSError."""
        known = bytes(self._written[self._place : self._place + len(data)])
        if not data.startswith(known):
            self._cut()
            known = b""
        self._place += len(data)
        if new := data[len(known) :]:
            self._written += new
            await asyncio.to_thread(self._pass_on, new)  # a player that pauses must not stop everything else

    def _cut(self) -> None:
        if self._is_pipe:
            raise OtherVideo
        self._file.seek(self._place)
        self._file.truncate()
        del self._written[self._place :]

    def _pass_on(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()
