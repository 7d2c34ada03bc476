"""What an account can do with its renders."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import timedelta
from typing import Any

from services.chassis.errors import InvalidInput, Violation
from services.chassis.tasks import uninterrupted
from services.scheduler.domain.errors import RenderNotEnded, RenderNotFound, RenderNotPaused
from services.scheduler.domain.render import Render, RenderEvent, RenderStatus
from services.scheduler.domain.trace import RenderTrace
from services.scheduler.ports import Clock, Page, RenderStore
from services.scheduler.usecases.dispatcher import Dispatcher
from services.scheduler.usecases.ordering import Ordering
from services.scheduler.usecases.outlook import Outlook
from services.scheduler.usecases.renders import Renders
from services.scheduler.usecases.screening import LONGEST_ADDRESS, Screening, Video, VideoAddress
from services.scheduler.usecases.tracing import Tracing
from services.scheduler.usecases.watching import Watching

DEFAULT_WAIT_SECONDS = 590
MAX_WAIT_SECONDS = 3600
MAX_PAGE_SIZE = 100
DEFAULT_PAGE_SIZE = 50
CANCEL_SECONDS = 5.0
"""How long a render may take to stop that is to be deleted; who asked is then told to ask again."""


class Scheduler:
    """Asking for renders, looking at them, and steering them."""

    def __init__(
        self,
        *,
        ordering: Ordering,
        store: RenderStore,
        renders: Renders,
        dispatcher: Dispatcher,
        outlook: Outlook,
        watching: Watching,
        screening: Screening,
        tracing: Tracing,
        clock: Clock,
    ) -> None:
        self._ordering = ordering
        self._store = store
        self._renders = renders
        self._dispatcher = dispatcher
        self._outlook = outlook
        self._watching = watching
        self._screening = screening
        self._tracing = tracing
        self._clock = clock

    async def create(
        self,
        account: str,
        body: Mapping[str, Any],
        *,
        path_slug: str | None,
        idempotency_key: str | None,
        api_key_id: str = "",
    ) -> Render:
        """Check a body and accept a render for it; durable when it returns. Same key, same body: same render.

        `api_key_id` is the key that its use is counted for.
        """
        accepted = await self._ordering.create(
            account, body, path_slug=path_slug, idempotency_key=idempotency_key, api_key_id=api_key_id
        )
        return await self._outlook.stands(accepted)

    async def infer(
        self,
        account: str,
        body: Mapping[str, Any],
        *,
        path_slug: str,
        idempotency_key: str | None,
        wait_seconds: int | None,
        cancel_on_disconnect: bool,
        api_key_id: str = "",
    ) -> Render:
        """Accept a render and wait until it has ended or is paused, or until `wait_seconds` are over."""
        seconds = DEFAULT_WAIT_SECONDS if wait_seconds is None else wait_seconds
        if not 0 <= seconds <= MAX_WAIT_SECONDS:
            raise InvalidInput([Violation("wait_seconds", f"must be from 0 to {MAX_WAIT_SECONDS}")])
        render = await self._ordering.create(
            account, body, path_slug=path_slug, idempotency_key=idempotency_key, api_key_id=api_key_id
        )
        try:
            render = await self._watching.until_settled(render, seconds)
        except asyncio.CancelledError:
            if cancel_on_disconnect:
                await uninterrupted(self.cancel(account, render.id))
            raise
        return await self._outlook.stands(render)

    async def get(self, account: str, render_id: str) -> Render:
        """A render as it stands. Raises RenderNotFound."""
        return await self._outlook.stands(await self._owned(account, render_id))

    async def page(
        self, account: str, *, status: str, slug: str, page_size: int, page_token: str, oldest_first: bool = False
    ) -> Page:
        """The account's renders, newest first unless asked otherwise. Raises InvalidInput."""
        violations: list[Violation] = []
        if status and status not in list(RenderStatus):
            violations.append(Violation("status", f"must be one of: {', '.join(RenderStatus)}"))
        if not 0 <= page_size <= MAX_PAGE_SIZE:
            violations.append(Violation("page_size", f"must be from 1 to {MAX_PAGE_SIZE}, or be left out"))
        if page_token and not page_token.startswith("rnd_"):
            violations.append(Violation("page_token", "must be the next_page_token of an earlier answer"))
        if violations:
            raise InvalidInput(violations)
        return await self._store.page(
            account,
            status=RenderStatus(status) if status else None,
            slug=slug or None,
            size=page_size or DEFAULT_PAGE_SIZE,
            beyond=page_token or None,
            oldest_first=oldest_first,
        )

    async def cancel(self, account: str, render_id: str) -> Render:
        """Stop a render; one that has ended stays as it is. Raises RenderNotFound."""
        await self._owned(account, render_id)
        await self._dispatcher.stop(render_id, "cancelation requested")
        return await self.get(account, render_id)

    async def retry(self, account: str, render_id: str, *, api_key_id: str = "") -> Render:
        """A new render in place of one that ended without a video. RenderNotFound, RenderNotRetryable."""
        retried = await self._ordering.retry(await self._owned(account, render_id), api_key_id=api_key_id)
        return await self._outlook.stands(retried)

    async def resume(self, account: str, render_id: str, *, pause_after_step: int) -> Render:
        """Let a paused render go on. RenderNotFound, RenderNotPaused, InvalidInput."""
        if pause_after_step < 0:
            raise InvalidInput([Violation("pause_after_step", "must not be negative")])
        render, now = await self._owned(account, render_id), self._clock.now()
        continued = await self._renders.advance(
            render_id,
            lambda render: render.continued(pause_after_step, now) if render.status is RenderStatus.PAUSED else None,
            "continued",
        )
        if continued is None:
            render = await self._owned(account, render_id)
            if render.is_settled or not render.was_paused:
                raise RenderNotPaused(render_id, render.status)
        return await self.get(account, render_id)

    async def branch(
        self,
        account: str,
        render_id: str,
        changes: Mapping[str, Any],
        *,
        idempotency_key: str | None,
        api_key_id: str = "",
    ) -> Render:
        """A new render from where a paused one stands. RenderNotFound, RenderNotPaused, InvalidInput."""
        paused = await self._owned(account, render_id)
        branched = await self._ordering.branch(paused, changes, idempotency_key, api_key_id=api_key_id)
        return await self._outlook.stands(branched)

    async def watch(self, account: str, render_id: str, *, after_seq: int) -> AsyncGenerator[RenderEvent, None]:
        """The events after `after_seq`, then new ones until the last. Raises RenderNotFound, InvalidInput at once."""
        if after_seq < 0:
            raise InvalidInput([Violation("after_seq", "must not be negative")])
        render = await self._owned(account, render_id)
        if after_seq > render.last_seq:
            raise InvalidInput([Violation("after_seq", f"must be at most {render.last_seq}, the newest event")])
        return self._watching.follow(render, after_seq)

    async def video(self, account: str, render_id: str, *, offset: int = 0, length: int = 0) -> Video:
        """The video of a render, or what is there of it and goes on growing.

        Of a finished one `length` bytes from `offset` on, 0 for all up to the end. RenderNotFound, VideoNotReady,
        InvalidInput.
        """
        return await self._screening.video(await self._owned(account, render_id), offset=offset, length=length)

    async def video_address(self, account: str, render_id: str, *, valid_seconds: int = 0) -> VideoAddress:
        """Where the finished video can be had without a key for a while, at most and for 0 a quarter of an hour.

        RenderNotFound, VideoNotReady, InvalidInput, ServiceUnavailable.
        """
        most = int(LONGEST_ADDRESS.total_seconds())
        if not 0 <= valid_seconds <= most:
            raise InvalidInput([Violation("valid_seconds", f"must be from 1 to {most}, or 0 for the most")])
        render = await self._owned(account, render_id)
        return await self._screening.address(render, timedelta(seconds=valid_seconds or most))

    async def preview(self, account: str, render_id: str, number: int) -> bytes:
        """A preview of a render, 0 for the newest. Raises RenderNotFound, PreviewNotReady, InvalidInput."""
        if number < 0:
            raise InvalidInput([Violation("number", "must not be negative")])
        return await self._screening.preview(await self._owned(account, render_id), number)

    async def thumbnail(self, account: str, render_id: str) -> bytes:
        """The picture that stands for a finished video. Raises RenderNotFound, PreviewNotReady."""
        return await self._screening.thumbnail(await self._owned(account, render_id))

    async def trace(self, account: str, render_id: str) -> RenderTrace:
        """What was done for a render, by whom and when. Raises RenderNotFound."""
        return await self._tracing.of(await self._owned(account, render_id))

    async def delete(self, account: str, render_id: str) -> None:
        """Remove a render and what it made; one that has not ended is canceled first.

        Its files go first: who fails half-way finds it, and can ask again. RenderNotFound, RenderNotEnded,
        ServiceUnavailable.
        """
        render = await self._owned(account, render_id)
        if not render.is_final:
            await self._dispatcher.stop(render_id, "canceled to be deleted")
            render = await self._watching.until_settled(render, CANCEL_SECONDS)
        if not render.is_final:
            raise RenderNotEnded(render_id)
        await self._screening.clear(render)
        await self._renders.advance(render_id, lambda render: render.deleted(self._clock.now()), "deleted")

    async def _owned(self, account: str, render_id: str) -> Render:
        render = await self._store.get(account, render_id)
        if render is None or render.deleted_at:
            raise RenderNotFound(render_id)
        return render
