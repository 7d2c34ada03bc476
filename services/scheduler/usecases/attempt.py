"""One try at a render on one runtime."""

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog
from opentelemetry import trace

from services.chassis.telemetry import extract_context
from services.scheduler.domain.errors import RuntimeStartFailed, WorkerLost
from services.scheduler.domain.render import (
    ACTIVE,
    Failure,
    Phase,
    Progress,
    Render,
    RenderStatus,
    Timing,
    milliseconds,
)
from services.scheduler.ports import Assignment, AttemptMoment, Bell, Change, Clock, Made, RenderStore, Workers
from services.scheduler.usecases.runtimes import Runtimes

log = structlog.get_logger()
tracer = trace.get_tracer("forge.scheduler")

LEASE = timedelta(seconds=30)

# The worker's names of phases, and where their durations go.
_TIMING_FIELDS: Mapping[str, str] = {
    "encoding": "encode_ms",
    "denoising": "denoise_ms",
    "decoding": "decode_ms",
    "muxing": "mux_ms",
    "storing": "store_ms",
}


class Superseded(Exception):
    """The render has moved on without this attempt: another epoch, or already at its end."""


class Attempt:
    """Drives a leased render on its runtime to an end. Every write is fenced by the attempt's epoch."""

    def __init__(
        self,
        render: Render,
        *,
        store: RenderStore,
        runtimes: Runtimes,
        workers: Workers,
        bell: Bell,
        clock: Clock,
    ) -> None:
        if render.runtime_id is None:
            raise ValueError("an attempt needs a leased render")
        self._render = render
        self._runtime_id = render.runtime_id
        self._store = store
        self._runtimes = runtimes
        self._workers = workers
        self._bell = bell
        self._clock = clock
        self._canceled = asyncio.Event()

    def cancel(self) -> None:
        """Ask for the end; the store has the render as canceling already."""
        self._canceled.set()

    async def run(self) -> None:
        """Run until the render has ended or is queued again. Raises nothing but CancelledError, which releases it."""
        context = extract_context(self._render.trace_context)
        attributes = {"forge.render_id": self._render.id, "forge.attempt": self._render.attempt}
        with tracer.start_as_current_span("attempt", context=context, attributes=attributes):
            try:
                await self._run()
            except Superseded:
                log.info("attempt superseded", render_id=self._render.id, epoch=self._render.epoch)
            finally:
                self._runtimes.release(self._runtime_id, self._render.id)

    async def _run(self) -> None:
        try:
            if await self._warm_up():
                await self._follow_worker()
        except RuntimeStartFailed as error:
            failure = Failure(error.cause_reason, error.message, retry=error.retry)
            if error.retry:
                await self._lose(error.message, failure)
            else:
                await self._end(RenderStatus.FAILED, error.message, error=failure)
        except WorkerLost:
            await self._runtimes.lost(self._runtime_id)
            await self._lose("the worker was lost")
        except asyncio.CancelledError:
            await asyncio.shield(self._release())
            raise
        except Superseded:
            raise
        except Exception:
            log.exception("attempt failed unexpectedly", render_id=self._render.id)
            await self._end(RenderStatus.FAILED, "internal error", error=Failure("INTERNAL", "internal error"))

    async def _warm_up(self) -> bool:
        """Wait until the runtime is warm, unless it is already; False when the render was canceled meanwhile."""
        if self._render.phase is not Phase.STARTING:
            return True
        with tracer.start_as_current_span("cold start"):
            following = asyncio.create_task(self._follow_start())
            canceled = asyncio.create_task(self._canceled.wait())
            try:
                await asyncio.wait({following, canceled}, return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    await following
                    return True
            finally:
                following.cancel()
                canceled.cancel()
        await self._end(RenderStatus.CANCELED, "canceled")
        return False

    async def _follow_start(self) -> None:
        began = self._clock.monotonic()
        async with aclosing(self._runtimes.starting(self._runtime_id)) as moments:
            async for moment in moments:
                await self._write(self._renew, moment.message)
        cold_start_ms = round((self._clock.monotonic() - began) * 1000)
        await self._write(
            lambda render: self._renew(
                replace(render, phase=Phase.ENCODING, timing=replace(render.timing, cold_start_ms=cold_start_ms))
            ),
            "the runtime is warm",
        )

    async def _follow_worker(self) -> None:
        runtime = self._runtimes.get(self._runtime_id)
        if runtime is None or runtime.address is None:
            raise WorkerLost
        address = runtime.address
        assignment = Assignment(
            render_id=self._render.id,
            epoch=self._render.epoch,
            inputs=await self._store.inputs(self._render.id),
            output_key=f"{self._render.folder}/video.mp4",
            checkpoint_key=self._render.checkpoint_key,
            fail_when_out_of_memory=self._render.fail_when_out_of_memory,
        )
        passing_on = asyncio.create_task(self._pass_on_cancel(address))
        try:
            async with aclosing(self._workers.render(address, assignment, self._render.worker_seq)) as moments:
                async for moment in moments:
                    if await self._note(moment):
                        return
        finally:
            passing_on.cancel()
        raise WorkerLost  # the stream ended without a result

    async def _pass_on_cancel(self, address: str) -> None:
        await self._canceled.wait()
        try:
            await self._workers.cancel(address, self._render.id, self._render.epoch)
        except WorkerLost:
            log.info("cancel not delivered: the worker is gone", render_id=self._render.id)

    async def _note(self, moment: AttemptMoment) -> bool:
        """Write what the worker said; True when it was its last word."""
        if (made := moment.result) is not None:
            progressed = self._progressed(self._render, moment)
            steps, output = moment.total_steps, made.output
            duration_seconds = output.num_frames / output.fps
            await self._end(
                RenderStatus.SUCCEEDED,
                "the video is ready",
                progress=Progress(
                    done_steps=steps,
                    total_steps=steps,
                    fraction=1.0,
                    playable_seconds=duration_seconds,
                ),
                phase=Phase.DONE,
                timing=_timing(progressed.timing, made),
                output=output,
                # A piece that could not be stored is missed by those who follow, not by the video.
                pieces=moment.pieces if math.isclose(moment.playable_seconds, duration_seconds) else 0,
                checkpoint_key="",
                warnings=(*self._render.warnings, *made.warnings),
                mode=made.mode,
                peak_memory=made.peak_memory,
                worker_seq=moment.seq,
            )
        elif moment.failure is not None and moment.failure.reason == WorkerLost.reason:
            raise WorkerLost  # it was told to end by somebody else than us
        elif moment.failure is not None:
            await self._end(RenderStatus.FAILED, moment.failure.message, error=moment.failure, worker_seq=moment.seq)
        elif moment.canceled:
            await self._end(RenderStatus.CANCELED, "canceled", worker_seq=moment.seq)
        else:
            await self._write(lambda render: self._renew(self._progressed(render, moment)), moment.message)
            return False
        return True

    def _progressed(self, render: Render, moment: AttemptMoment) -> Render:
        progress = Progress(
            done_steps=moment.done_steps,
            total_steps=moment.total_steps,
            fraction=moment.fraction,
            eta_seconds_p50=moment.eta_seconds_p50,
            eta_seconds_p90=moment.eta_seconds_p90,
            playable_seconds=moment.playable_seconds or None,
        )
        render = replace(
            render,
            phase=moment.phase,
            progress=progress,
            worker_seq=moment.seq,
            pieces=moment.pieces,
            checkpoint_key=moment.checkpoint_key or render.checkpoint_key,
        )
        if moment.pieces and render.timing.first_frames_ms is None:
            first_frames_ms = milliseconds(render.created_at, self._clock.now())
            render = replace(render, timing=replace(render.timing, first_frames_ms=first_frames_ms))
        if moment.preview_key and moment.preview_key != render.preview_key:
            render = replace(render, preview_key=moment.preview_key, preview_seq=render.last_seq + 1)
        return render

    def _renew(self, render: Render) -> Render | None:
        """Renew the lease of a render that is still the attempt's."""
        return replace(render, lease_until=self._clock.now() + LEASE) if render.status in ACTIVE else None

    async def _end(self, to: RenderStatus, message: str, **changes: Any) -> None:
        def change(render: Render) -> Render | None:
            if render.status is RenderStatus.CANCELING and to is RenderStatus.FAILED:
                return render.ended(RenderStatus.CANCELED, self._clock.now())
            if render.status is RenderStatus.RUNNING and to is RenderStatus.CANCELED:
                failure = Failure("ENGINE_FAILED", "the worker stopped it without being asked to", retry=True)
                return render.ended(RenderStatus.FAILED, self._clock.now(), error=failure)
            return render.ended(to, self._clock.now(), **changes) if render.status in ACTIVE else None

        await self._write(change, message)
        log.info("render ended", render_id=self._render.id, status=self._render.status, target=str(self._render.target))

    async def _lose(self, message: str, cause: Failure | None = None) -> None:
        """Give the render back for another try, unless it has had them all."""
        now = self._clock.now()
        await self._write(lambda render: render.lost(now, cause) if render.status in ACTIVE else None, message)

    async def _release(self) -> None:
        """Put the render back into the queue; the shutdown of the scheduler is no fault of the render."""

        def change(render: Render) -> Render | None:
            if render.status is RenderStatus.CANCELING:
                return render.ended(RenderStatus.CANCELED, self._clock.now())
            return render.released() if render.status is RenderStatus.RUNNING else None

        await self._write(change, "released: the scheduler is shutting down")

    async def _write(self, change: Change, message: str) -> None:
        written = await self._store.advance(self._render.id, change, message, epoch=self._render.epoch)
        if written is None:
            raise Superseded
        self._render = written
        self._bell.ring(written.id)


AttemptFactory = Callable[[Render], Attempt]


def _timing(timing: Timing, made: Made) -> Timing:
    """The timing with the worker's phases; the model's own time is what it spent encoding, denoising and decoding."""
    known = {_TIMING_FIELDS[phase]: ms for phase, ms in made.phase_ms.items() if phase in _TIMING_FIELDS}
    model_parts = [known[name] for name in ("encode_ms", "denoise_ms", "decode_ms") if name in known]
    timing = replace(timing, **known, model_ms=sum(model_parts) if model_parts else None)
    return replace(timing, eta_error=made.eta_error)
