"""The one way to change renders: stored first, then told to the queue and to those who listen."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from services.chassis.tasks import uninterrupted
from services.scheduler.domain.render import Render, RenderStatus
from services.scheduler.ports import Bell, Change, RenderStore, Written
from services.scheduler.usecases.meters import accepted as count_accepted
from services.scheduler.usecases.meters import count_change
from services.scheduler.usecases.queue import Queue
from services.scheduler.usecases.spans import tell_of_change


class Renders:
    """Every change of every render. What was stored is always told, even when the caller is canceled meanwhile."""

    def __init__(self, *, store: RenderStore, queue: Queue, bell: Bell, on_queued: Callable[[], None]) -> None:
        self._store = store
        self._queue = queue
        self._bell = bell
        self._on_queued = on_queued

    async def accept(
        self, render: Render, inputs: Mapping[str, Any], message: str, *, keys_since: datetime
    ) -> tuple[Render, bool]:
        """Store a new render; the one of its idempotency key, and False, when there is one. StoreUnavailable."""
        return await uninterrupted(self._accept(render, inputs, message, keys_since))

    async def advance(self, render_id: str, change: Change, message: str, *, epoch: int | None = None) -> Render | None:
        """Change a render, if the fence lets it; None when nothing changed. StoreUnavailable."""
        return await uninterrupted(self._advance(render_id, change, message, epoch))

    async def _accept(
        self, render: Render, inputs: Mapping[str, Any], message: str, keys_since: datetime
    ) -> tuple[Render, bool]:
        accepted = await self._store.accept(render, inputs, message, keys_since=keys_since)
        if isinstance(accepted, Written):
            count_accepted(accepted.render)
            self._tell(accepted)
            return accepted.render, True
        return accepted, False

    async def _advance(self, render_id: str, change: Change, message: str, epoch: int | None) -> Render | None:
        before: list[Render] = []

        def noted(render: Render) -> Render | None:
            before[:] = [render]
            return change(render)

        written = await self._store.advance(render_id, noted, message, epoch=epoch)
        if written is None:
            return None
        tell_of_change(before[0], written.render)
        count_change(before[0], written.render)
        self._tell(written)
        return written.render

    def _tell(self, written: Written) -> None:
        waits = written.render.status is RenderStatus.QUEUED
        if waits or written.render.id in self._queue:
            self._queue.note(written.render, waits=waits)
        self._bell.ring(written.render.id, written.event)
        if waits:
            self._on_queued()
