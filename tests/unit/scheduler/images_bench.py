"""Images of requests with their real stores and decoders, on a clock of the test's own."""

import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from obstore.store import LocalStore
from PIL import Image

from services.chassis.images import ImageFile
from services.chassis.storage import sqlite_database
from services.scheduler.__main__ import MIGRATIONS
from services.scheduler.adapters.darkroom_images import DarkroomImages
from services.scheduler.adapters.http_images import HttpImages
from services.scheduler.adapters.obstore_uploads import ObstoreUploads
from services.scheduler.adapters.sql_uploads import SqlUploadStore
from services.scheduler.domain.upload import UploadLimits
from services.scheduler.usecases.images import Images
from services.scheduler.usecases.uploads import Uploads
from tests.databases import OpenDatabase


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        raise Slept(seconds)

    def pass_by(self, **more: float) -> None:
        self.at += timedelta(**more)


class Slept(Exception):
    """A loop has done all it can for now."""


def a_png(colour: str = "red", size: tuple[int, int] = (20, 10)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Desk:
    """Where images come in."""

    images: Images
    uploads: Uploads
    clock: HandClock
    objects: Path

    def kept(self) -> list[str]:
        folder = self.objects / "uploads"
        return sorted(file.name for file in folder.iterdir()) if folder.exists() else []

    async def tidied(self) -> None:
        with suppress(Slept):
            await self.uploads.tidy()


@asynccontextmanager
async def a_desk(
    folder: Path, open_database: OpenDatabase = sqlite_database, *, remote: HttpImages | None = None, **limits: Any
) -> AsyncIterator[Desk]:
    objects = folder / "objects"
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(folder / "s.sqlite3", MIGRATIONS))
        decoding = await stack.enter_async_context(DarkroomImages(at_once=1))
        if remote is not None:
            await stack.enter_async_context(remote)
        clock, numbers = HandClock(), count(1)
        uploads = Uploads(
            store=SqlUploadStore(database),
            files=ObstoreUploads(LocalStore(objects, mkdir=True)),
            decoding=decoding,
            clock=clock,
            limits=UploadLimits(**limits),
            new_id=lambda prefix: f"{prefix}_{next(numbers):04}",
        )
        yield Desk(Images(decoding=decoding, uploads=uploads, remote=remote), uploads, clock, objects)


def data_uri(data: bytes, media_type: str = "image/png") -> str:
    return ImageFile(media_type, data).as_data_uri()
