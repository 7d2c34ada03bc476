"""Renders, as their owners see them: ask, look, watch, stop, fetch."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog

from services.chassis.errors import InvalidInput, Violation
from services.chassis.ids import new_id
from services.chassis.telemetry import current_trace_id, inject_context
from services.scheduler.domain.errors import IdempotencyConflict, RenderNotFound
from services.scheduler.domain.render import Phase, Render, RenderEvent, RenderStatus, snapshot
from services.scheduler.ports import Bell, Clock, Page, RenderStore
from services.scheduler.usecases.dispatcher import Dispatcher
from services.scheduler.usecases.intake import Intake
from services.scheduler.usecases.screening import Screening, Video

log = structlog.get_logger()

DEFAULT_WAIT_SECONDS = 590
MAX_WAIT_SECONDS = 3600
KEEP_ALIVE_SECONDS = 15
MAX_PAGE_SIZE = 100
DEFAULT_PAGE_SIZE = 50
_BATCH = 200  # events read at once; a watcher that is behind never makes the service hold its whole log


class Scheduler:
    """What the accounts can do with renders."""

    def __init__(
        self,
        *,
        intake: Intake,
        store: RenderStore,
        dispatcher: Dispatcher,
        bell: Bell,
        screening: Screening,
        clock: Clock,
        queue_ttl: timedelta | None = None,
    ) -> None:
        self._intake = intake
        self._store = store
        self._dispatcher = dispatcher
        self._bell = bell
        self._screening = screening
        self._clock = clock
        self._queue_ttl = queue_ttl

    async def create(
        self, account: str, body: Mapping[str, Any], *, path_slug: str | None, idempotency_key: str | None
    ) -> Render:
        """Check a body and accept a render for it; durable when it returns. Same key, same body: same render."""
        order = await self._intake.order(body, path_slug)
        now = self._clock.now()
        render = Render(
            id=new_id("rnd"),
            account=account,
            slug=order.slug,
            model_version=order.model_version,
            created_at=now,
            pin=order.pin,
            seed=order.seed,
            idempotency_key=idempotency_key or order.request_id,
            request_sha256=order.sha256,
            expires_at=now + self._queue_ttl if self._queue_ttl else None,
            trace_context=inject_context(),
            trace_id=current_trace_id(),
            warnings=order.warnings,
            fail_when_out_of_memory=order.fail_when_out_of_memory,
        )
        accepted = await self._store.accept(render, order.inputs, "accepted")
        if accepted.request_sha256 != order.sha256:
            raise IdempotencyConflict
        if accepted.id == render.id:
            log.info("render accepted", render_id=render.id, slug=render.slug, account=account)
            self._dispatcher.wake()
        return await self._as_it_stands(accepted)

    async def infer(
        self,
        account: str,
        body: Mapping[str, Any],
        *,
        path_slug: str,
        idempotency_key: str | None,
        wait_seconds: int | None,
        cancel_on_disconnect: bool,
    ) -> Render:
        """Accept a render and wait for its end, or until `wait_seconds` are over."""
        seconds = DEFAULT_WAIT_SECONDS if wait_seconds is None else wait_seconds
        if not 0 <= seconds <= MAX_WAIT_SECONDS:
            raise InvalidInput([Violation("wait_seconds", f"must be from 0 to {MAX_WAIT_SECONDS}")])
        render = await self.create(account, body, path_slug=path_slug, idempotency_key=idempotency_key)
        deadline = self._clock.monotonic() + seconds
        try:
            with self._bell.listening(render.id) as listener:
                while not (render := await self._owned(account, render.id)).is_final:
                    left = deadline - self._clock.monotonic()
                    if left <= 0:
                        break
                    await listener.heard(min(left, KEEP_ALIVE_SECONDS))
        except asyncio.CancelledError:
            if cancel_on_disconnect:
                await asyncio.shield(self.cancel(account, render.id))
            raise
        return await self._as_it_stands(render)

    async def get(self, account: str, render_id: str) -> Render:
        """A render as it stands. Raises RenderNotFound."""
        return await self._as_it_stands(await self._owned(account, render_id))

    async def page(self, account: str, *, status: str, slug: str, page_size: int, page_token: str) -> Page:
        """The account's renders, newest first. Raises InvalidInput."""
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
            before=page_token or None,
        )

    async def cancel(self, account: str, render_id: str) -> Render:
        """Stop a render; one that has ended stays as it is. Raises RenderNotFound."""
        await self._owned(account, render_id)
        canceled = await self._store.advance(render_id, self._cancel, "cancelation requested")
        if canceled is not None:
            log.info("render canceled", render_id=render_id, status=canceled.status)
            self._bell.ring(render_id)
            self._dispatcher.cancel(render_id)
        return await self.get(account, render_id)

    async def watch(self, account: str, render_id: str, *, after_seq: int) -> AsyncGenerator[RenderEvent, None]:
        """The events after `after_seq`, then new ones until the last. Raises RenderNotFound, InvalidInput at once."""
        if after_seq < 0:
            raise InvalidInput([Violation("after_seq", "must not be negative")])
        render = await self._owned(account, render_id)
        if after_seq > render.last_seq:
            raise InvalidInput([Violation("after_seq", f"must be at most {render.last_seq}, the newest event")])
        return self._follow(render, after_seq)

    async def _follow(self, render: Render, seq: int) -> AsyncGenerator[RenderEvent, None]:
        if render.is_final and seq == render.last_seq:
            return
        with self._bell.listening(render.id) as listener:
            while True:
                events = await self._store.events(render.id, seq, _BATCH)
                for event in events:
                    seq = event.seq
                    yield event
                    if event.is_last:
                        return
                if events or await listener.heard(KEEP_ALIVE_SECONDS):
                    continue
                render = await self.get(render.account, render.id)
                if render.last_seq == seq:
                    yield replace(snapshot(render, self._clock.now(), ""), keep_alive=True)

    async def video(self, account: str, render_id: str) -> Video:
        """The video of a render, or what is there of it and goes on growing. Raises RenderNotFound, VideoNotReady."""
        return await self._screening.video(await self._owned(account, render_id))

    async def preview(self, account: str, render_id: str, number: int) -> bytes:
        """A preview of a render, 0 for the newest. Raises RenderNotFound, PreviewNotReady, InvalidInput."""
        if number < 0:
            raise InvalidInput([Violation("number", "must not be negative")])
        return await self._screening.preview(await self._owned(account, render_id), number)

    async def _owned(self, account: str, render_id: str) -> Render:
        render = await self._store.get(account, render_id)
        if render is None:
            raise RenderNotFound(render_id)
        return render

    async def _as_it_stands(self, render: Render) -> Render:
        """The render with its present place in the queue."""
        if render.status is not RenderStatus.QUEUED:
            return render
        position = await self._store.queue_position(render)
        return replace(render, progress=replace(render.progress, queue_position=position))

    def _cancel(self, render: Render) -> Render | None:
        if render.status is RenderStatus.QUEUED:
            return render.ended(RenderStatus.CANCELED, self._clock.now(), phase=Phase.DONE)
        if render.status is RenderStatus.RUNNING:
            return render.moved(RenderStatus.CANCELING)
        return None
