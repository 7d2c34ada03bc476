"""What images of requests need from the world."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.chassis.darkroom import Size
from services.chassis.images import ImageFile
from services.scheduler.domain.upload import Upload


class ImageInputs(Protocol):
    """The images that inputs of renders name."""

    async def resolved(self, value: str, account: str | None) -> str:
        """What an input says, as a data URI of an image that can be decoded. Raises ImageRefused, ServiceUnavailable.

        For no account, what would have to be fetched stays as it is: nobody has asked for a render yet.
        """
        ...


class ImageDecoding(Protocol):
    """Decodes images where that can do no harm."""

    async def check(self, uri: str) -> None:
        """Decode the image in the data URI of a request. Raises ImageRefused."""
        ...

    async def size(self, file: ImageFile) -> Size:
        """Decode an image. Raises ImageRefused."""
        ...


class RemoteImages(Protocol):
    """Images on other hosts."""

    async def fetch(self, url: str, account: str) -> ImageFile:
        """The image at an address now. Raises ImageRefused; it takes a bounded time."""
        ...


class UploadStore(Protocol):
    """What is known of uploads. One is reached only by naming its account; one that has expired is not there."""

    async def add(self, upload: Upload, *, max_count: int, max_bytes: int) -> "Held | None":
        """Keep a new upload. What the account holds instead, and nothing is kept, when that leaves no room for it."""
        ...

    async def held(self, account: str, now: datetime) -> "Held":
        """What the account holds."""
        ...

    async def get(self, account: str, upload_id: str, now: datetime) -> Upload | None:
        """An upload of the account."""
        ...

    async def list(self, account: str, now: datetime) -> Sequence[Upload]:
        """The account's uploads, newest first."""
        ...

    async def remove(self, account: str, upload_id: str, now: datetime) -> bool:
        """Forget an upload; False when the account has none of this id."""
        ...

    async def remove_expired(self, now: datetime) -> Sequence[str]:
        """Forget some of those that have expired; their ids, none when none is left."""
        ...

    async def known(self, upload_ids: Sequence[str]) -> set[str]:
        """Those of the ids that are known, of any account."""
        ...


@dataclass(frozen=True)
class Held:
    """What an account holds: how many uploads, of how many bytes, and when the first of them expires."""

    count: int
    size_bytes: int
    first_expires_at: datetime | None


class UploadFiles(Protocol):
    """The bytes of uploads. Every method raises ServiceUnavailable when the store cannot do it now."""

    async def put(self, upload_id: str, data: bytes) -> None:
        """Keep bytes."""
        ...

    async def get(self, upload: Upload) -> bytes | None:
        """The bytes that were kept of an upload; None when they are gone, or are not those any more."""
        ...

    async def remove(self, upload_ids: Sequence[str]) -> None:
        """Remove bytes; those that are not there are no error."""
        ...

    def kept_before(self, moment: datetime) -> AsyncGenerator[Sequence[str], None]:
        """Ids of uploads whose bytes were put before a moment, some at a time."""
        ...
