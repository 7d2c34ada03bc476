"""What several schedulers on one database need to act as one."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from services.scheduler.domain.bulletin import Bulletin
from services.scheduler.domain.render import Render, RenderEvent

HearOf = Callable[[str | None], None]
"""Told of a render that another process has queued or is canceling; of None where news may have been missed."""


class Leadership(Protocol):
    """Which of the replicas leads: it alone places, tends and delivers. The others take calls."""

    @property
    def term(self) -> int | None:
        """Number of the present term of this process, higher than of any before it; None while another one leads."""
        ...

    @property
    def leader(self) -> str | None:
        """Address of the replica that leads, "host:port"; None when none is known to."""
        ...

    async def gained(self) -> None:
        """Return once this process leads. It does so until it ends."""
        ...

    async def run(self, hear_of: HearOf) -> None:
        """Lead whenever nobody does, and hear of what others do, until canceled. Then another one may lead at once."""
        ...


class SharedRenders(Protocol):
    """Renders, as far as other processes may have changed them. Every method raises StoreUnavailable."""

    async def queued_ids(self) -> Collection[str]:
        """Every render that waits for a runtime."""
        ...

    async def found(self, ids: Collection[str]) -> Sequence[Render]:
        """Renders of any account; those that there are."""
        ...

    async def last_seqs(self, ids: Collection[str]) -> Mapping[str, int]:
        """The number of the newest event of each of these renders."""
        ...

    async def newest_events(self, ids: Collection[str]) -> Mapping[str, RenderEvent]:
        """The newest event of each of these renders."""
        ...


class BulletinBoard(Protocol):
    """Where the replica that leads tells the others what only it knows. Every method raises StoreUnavailable."""

    async def put_up(self, bulletin: Bulletin) -> None:
        """Show a bulletin in place of the one before."""
        ...

    async def read(self) -> Bulletin | None:
        """The bulletin that is shown; None before the first."""
        ...
