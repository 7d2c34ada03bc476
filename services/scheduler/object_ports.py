"""What the scheduler needs from the object store."""

from collections.abc import AsyncGenerator, Collection
from datetime import datetime, timedelta
from typing import Protocol


class Videos(Protocol):
    """Videos, their pieces and previews, as workers store them."""

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None] | None:
        """The bytes under a key, in pieces of moderate size; None when nothing is there.

        All of them, or `length` of them from `offset` on: a part that the object has. ServiceUnavailable, also midway.
        """
        ...

    async def remove_all(self, folder: str, *, but: Collection[str] = ()) -> None:
        """Remove what is under a folder, `but` these keys. ServiceUnavailable: then some of it may be left."""
        ...


class Checkpoints(Protocol):
    """Checkpoints, as workers store them."""

    async def remove(self, key: str) -> None:
        """Remove one that nobody needs. One that cannot be removed stays: it is only in the way."""
        ...


class VideoAddresses(Protocol):
    """Addresses in the object store, for those who have no keys of it."""

    async def address(self, key: str, *, file_name: str, media_type: str, valid_for: timedelta) -> str | None:
        """Where whoever knows it can get an object for a while; None when the store gives none. ServiceUnavailable."""
        ...


class UnfinishedPuts(Protocol):
    """Objects that were being put in parts when whoever did so was stopped."""

    async def abort(self, *, begun_before: datetime) -> int:
        """Drop the parts of those that began before a moment; how many there were. ServiceUnavailable."""
        ...
