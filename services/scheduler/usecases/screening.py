"""Showing what renders have made: finished videos, those that still grow, and previews."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.chassis.errors import InvalidInput, Violation
from services.scheduler.domain.errors import PreviewNotReady, VideoCutOff, VideoNotReady
from services.scheduler.domain.facts import Output
from services.scheduler.domain.render import ACTIVE, FINAL, Render, RenderEvent, RenderStatus
from services.scheduler.object_ports import VideoAddresses, Videos
from services.scheduler.ports import Bell, Clock, RenderStore

MEDIA_TYPE = "video/mp4"
LONGEST_ADDRESS = timedelta(minutes=15)
LOOK_AGAIN_SECONDS = 15
"""After so long without a ring somebody looks whether one was missed."""


@dataclass(frozen=True)
class Video:
    """A video on its way to a client. `sha256` is known once the video is finished."""

    media_type: str
    sha256: str | None
    bytes: AsyncGenerator[bytes, None]


@dataclass(frozen=True)
class VideoAddress:
    """Where a finished video can be had without a key; the url is empty where the installation gives none."""

    url: str
    expires_at: datetime


class Screening:
    """Opens what the object store holds of renders."""

    def __init__(
        self, *, store: RenderStore, videos: Videos, bell: Bell, clock: Clock, addresses: VideoAddresses | None = None
    ) -> None:
        self._store = store
        self._videos = videos
        self._addresses = addresses
        self._clock = clock
        self._bell = bell

    async def video(self, render: Render, *, offset: int = 0, length: int = 0) -> Video:
        """The finished video, else one that grows with the render. Raises VideoNotReady, InvalidInput.

        Of a finished one `length` bytes from `offset` on; 0 for all up to the end.
        """
        if render.output is not None:
            _check_part(render.output, offset, length)
            most = render.output.size_bytes - offset
            found = await self._videos.open(render.output.key, offset=offset, length=min(length or most, most))
            if found is None:
                raise VideoNotReady(f"the video of render '{render.id}' is no longer stored", render.id)
            return Video(render.output.media_type, render.output.sha256, found)
        if render.status is RenderStatus.RUNNING and render.pieces:
            _check_whole(offset, length)
            return Video(MEDIA_TYPE, None, self._growing(render))
        if render.status is RenderStatus.RUNNING:
            raise VideoNotReady(f"render '{render.id}' has no finished frames yet", render.id)
        raise VideoNotReady(f"render '{render.id}' is {render.status}: it has no video", render.id)

    async def address(self, render: Render, valid_for: timedelta) -> VideoAddress:
        """An address of the finished video. Raises VideoNotReady, ServiceUnavailable."""
        if render.output is None:
            raise VideoNotReady(
                f"render '{render.id}' is {render.status}: addresses lead to finished videos", render.id
            )
        expires_at, url = self._clock.now() + valid_for, None
        if self._addresses:
            url = await self._addresses.address(
                render.output.key,
                file_name=f"{render.slug}-{render.id}.mp4",
                media_type=render.output.media_type,
                valid_for=valid_for,
            )
        return VideoAddress(url or "", expires_at)

    async def preview(self, render: Render, number: int) -> bytes:
        """The newest preview, or the one that event `number` told of first. Raises PreviewNotReady."""
        key = render.preview_key if number in (0, render.preview_seq) else await self._earlier_preview(render, number)
        picture = await self._picture(key)
        if picture is None:
            raise PreviewNotReady(render.id)
        return picture

    async def thumbnail(self, render: Render) -> bytes:
        """The picture that stands for the finished video; its newest preview when none was kept. PreviewNotReady."""
        if render.output is None:
            raise PreviewNotReady(render.id)
        picture = await self._picture(render.output.thumbnail_key) or await self._picture(render.preview_key)
        if picture is None:
            raise PreviewNotReady(render.id)
        return picture

    async def clear(self, render: Render) -> None:
        """Remove what an ended render has made, but checkpoints that others are to go on from. ServiceUnavailable."""
        unfinished = await self._store.with_status(*(status for status in RenderStatus if status not in FINAL))
        await self._videos.remove_all(render.whole_folder, but={other.checkpoint_key for other in unfinished})

    async def _picture(self, key: str) -> bytes | None:
        found = await self._videos.open(key) if key else None
        if found is None:
            return None
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


def _check_part(output: Output, offset: int, length: int) -> None:
    violations: list[Violation] = []
    if not 0 <= offset < output.size_bytes:
        violations.append(Violation("offset", f"must be from 0 to {output.size_bytes - 1}: the video ends there"))
    if length < 0:
        violations.append(Violation("length", "must not be negative"))
    if violations:
        raise InvalidInput(violations)


def _check_whole(offset: int, length: int) -> None:
    asked = {"offset": offset, "length": length}
    if violations := [Violation(name, "must be 0 for a video that still grows") for name in asked if asked[name]]:
        raise InvalidInput(violations)


def _is_the_same(render: Render, event: RenderEvent | None) -> bool:
    """Whether an event tells nothing new of a growing video."""
    return (
        event is not None
        and event.status is render.status
        and event.attempt == render.attempt
        and event.progress.playable_seconds == render.progress.playable_seconds
    )
