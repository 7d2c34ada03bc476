"""Fetching a render's video or preview: whole and intact, or not at all."""

import hashlib
from contextlib import aclosing, suppress
from pathlib import Path

from forge.scheduler.v1.render_pb2 import Render
from forge.scheduler.v1.render_service_pb2 import GetPreviewRequest, GetVideoRequest
from grpc import aio

from forge_cli.client import Client
from forge_cli.failures import CommandFailed
from forge_cli.patience import Patience
from forge_cli.statuses import from_call
from forge_cli.watching import is_passing

_SILENCE_SECONDS = 60.0


async def download(client: Client, render: Render, path: Path, patience: Patience) -> None:
    """Write the render's video to `path`, whole or not at all. CommandFailed when it does not arrive intact."""
    while True:
        try:
            await _download_once(client, render, path)
            return
        except aio.AioRpcError as error:
            trouble: CommandFailed = from_call(error, client.api_base)
            if not is_passing(error):
                raise trouble from error
        except TimeoutError:
            trouble = CommandFailed("the video stopped arriving", hints=[how_to_fetch(render.id)])
        await patience.bear(trouble)


async def download_preview(client: Client, render: Render, path: Path) -> None:
    """Write the newest preview of the render to `path`, whole or not at all. CommandFailed when there is none."""
    found = await client.call(client.renders.GetPreview, GetPreviewRequest(render_id=render.id))
    with Arriving(path) as arriving:
        arriving.write(found.data)
        arriving.keep(sha256="", render_id=render.id)


async def _download_once(client: Client, render: Render, path: Path) -> None:
    with Arriving(path) as arriving:
        request = GetVideoRequest(render_id=render.id)
        parts = client.stream(client.renders.GetVideo, request, silence_seconds=_SILENCE_SECONDS)
        async with aclosing(parts):
            async for part in parts:
                arriving.write(part.data)
        arriving.keep(sha256=render.output.sha256, render_id=render.id)


class Arriving:
    """A file on its way: it takes its name only when it is whole. A context manager; `keep` ends it well."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._digest = hashlib.sha256()

    def __enter__(self) -> "Arriving":
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("wb")
        except OSError as error:
            raise self._refused(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what there was no room for before there is none for now
            self._file.close()
        self._part.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Append bytes. CommandFailed where there is no room for them."""
        self._digest.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise self._refused(error) from error

    def keep(self, *, sha256: str, render_id: str) -> None:
        """Check the bytes against their digest and give the file its name."""
        if sha256 and self._digest.hexdigest() != sha256:
            raise CommandFailed("the video arrived damaged", hints=[how_to_fetch(render_id)])
        try:
            self._file.close()
            self._part.replace(self._path)
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> CommandFailed:
        return CommandFailed(
            f"cannot write {self._path}: {error.strerror}", hints=["make room there, or name another place with -o"]
        )


def how_to_fetch(render_id: str) -> str:
    """The words that say how to get the video of a render later."""
    return f"fetch it with: forge watch {render_id} -o video.mp4"
