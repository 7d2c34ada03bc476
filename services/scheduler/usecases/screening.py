"""Showing what renders have made: finished videos, those that still grow, and previews."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from services.scheduler.domain.errors import PreviewNotReady, VideoCutOff, VideoNotReady
from services.scheduler.domain.render import ACTIVE, Render, RenderEvent, RenderStatus
from services.scheduler.ports import Bell, RenderStore, Videos

MEDIA_TYPE = "video/mp4"
LOOK_AGAIN_SECONDS = 15
"""After so long without a ring somebody looks whether one was missed."""


@dataclass(frozen=True)
class Video:
    """A video on its way to a client. `sha256` is known once the video is finished."""

    media_type: str
    sha256: str | None
    bytes: AsyncGenerator[bytes, None]


class Screening:
    """Opens what the object store holds of renders."""

    def __init__(self, *, store: RenderStore, videos: Videos, bell: Bell) -> None:
        self._store = store
        self._videos = videos
        self._bell = bell

    async def video(self, render: Render) -> Video:
        """The finished video, else one that grows with the render. Raises VideoNotReady."""
        if render.output is not None:
            found = await self._videos.open(render.output.key)
            if found is None:
                raise VideoNotReady(f"the video of render '{render.id}' is no longer stored", render.id)
            return Video(render.output.media_type, render.output.sha256, found)
        if render.status is RenderStatus.RUNNING and render.pieces:
            return Video(MEDIA_TYPE, None, self._growing(render))
        if render.status is RenderStatus.RUNNING:
            raise VideoNotReady(f"render '{render.id}' has no finished frames yet", render.id)
        raise VideoNotReady(f"render '{render.id}' is {render.status}: it has no video", render.id)

    async def preview(self, render: Render, number: int) -> bytes:
        """The newest preview, or the one that event `number` told of first. Raises PreviewNotReady."""
        key = render.preview_key if number in (0, render.preview_seq) else await self._earlier_preview(render, number)
        found = await self._videos.open(key) if key else None
        if found is None:
            raise PreviewNotReady(render.id)
        async with aclosing(found):
            return b"".join([piece async for piece in found])

    async def _earlier_preview(self, render: Render, number: int) -> str:
        events = await self._store.events(render.id, number - 1, 1)
        return events[0].preview_key if events and events[0].preview_seq == number else ""

    async def _growing(self, render: Render) -> AsyncGenerator[bytes, None]:
        """The pieces of the present attempt, as they come, to the end. Raises VideoCutOff when there is none."""
        sent, account, epoch, folder = 0, render.account, render.epoch, render.folder
        with self._bell.listening(render.id) as listener:
            while True:
                while sent < render.pieces:
                    sent += 1
                    piece = await self._videos.open(f"{folder}/pieces/{sent:05}.mp4")
                    if piece is None:
                        raise VideoCutOff(render.id)
                    async with aclosing(piece):
                        async for part in piece:
                            yield part
                if render.status is RenderStatus.SUCCEEDED and render.pieces:
                    return
                if render.status not in ACTIVE or render.epoch != epoch:
                    raise VideoCutOff(render.id)
                while _is_the_same(render, await listener.next(LOOK_AGAIN_SECONDS)):
                    pass
                found = await self._store.get(account, render.id)
                if found is None:
                    raise VideoCutOff(render.id)
                render = found


def _is_the_same(render: Render, event: RenderEvent | None) -> bool:
    """Whether an event tells nothing new of a growing video."""
    return (
        event is not None
        and event.status is render.status
        and event.attempt == render.attempt
        and event.progress.playable_seconds == render.progress.playable_seconds
    )
