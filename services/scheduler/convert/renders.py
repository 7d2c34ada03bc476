"""Renders as clients ask for them and see them."""

from collections.abc import Mapping
from typing import Any

from forge.scheduler.v1 import render_pb2, render_service_pb2
from google.api import httpbody_pb2

from services.chassis.wire import struct, timestamp
from services.scheduler.convert.values import target_to_proto, usd
from services.scheduler.domain.facts import AttemptRecord, Failure, Output, Progress, Timing
from services.scheduler.domain.render import Render, RenderEvent
from services.scheduler.ports import Page

IDEMPOTENCY_HEADER = "idempotency-key"
PREVIEW_MEDIA_TYPE = "image/webp"
KEPT_FOR_A_DAY = (("cache-control", "private, max-age=86400"),)
"""What an HTTP client may do with a picture that will not change."""


def idempotency_key(metadata: Any) -> str | None:
    """The idempotency key a client sent as a header."""
    return next((value for key, value in metadata or () if key == IDEMPOTENCY_HEADER and value), None)


def render_to_proto(render: Render) -> render_pb2.Render:
    """A render as its owner sees it."""
    return render_pb2.Render(
        id=render.id,
        slug=render.slug,
        model_version=render.model_version,
        status=render.status,
        phase=render.phase,
        progress=progress_to_proto(render.progress),
        target=target_to_proto(render.target),
        attempt=render.attempt,
        warnings=render.warnings,
        output=_output_to_proto(render.id, render.output),
        timing=_timing_to_proto(render.timing),
        was_cold_start=render.was_cold_start,
        estimated_cost_usd=render.estimated_cost_usd,
        actual_cost_usd=usd(render.microdollars),
        estimated_gpu_seconds=render.estimated_gpu_seconds,
        estimated_gpu_seconds_p90=render.estimated_gpu_seconds_p90,
        trace_id=render.trace_id,
        error=_failure_to_proto(render.error),
        last_seq=render.last_seq,
        seed=render.seed,
        mode=render.mode,
        events_url=f"/v1/renders/{render.id}/events",
        preview_url=_preview_url(render.id, render.preview_seq),
        peak_memory={
            phase: render_pb2.PhaseMemory(allocated_bytes=peak.allocated_bytes, reserved_bytes=peak.reserved_bytes)
            for phase, peak in render.peak_memory.items()
        },
        explanation=render.explanation,
        thumbnail_url=f"/v1/renders/{render.id}/thumbnail" if render.output else "",
        shape=struct(render.shape),
        priority=render.priority,
        prefer=render.prefer,
        max_cost_usd=render.max_cost_usd,
        pause_after_step=render.pause_after_step,
        retry_of=render.retry_of,
        branch_of=render.branch_of,
        finish_within_seconds=render.finish_within_seconds,
        gpu_seconds=render.gpu_seconds,
        attempts=map(_attempt_to_proto, render.attempts),
        created_at=timestamp(render.created_at),
        started_at=timestamp(render.started_at),
        ended_at=timestamp(render.ended_at),
        expires_at=timestamp(render.expires_at),
        deadline=timestamp(render.deadline),
    )


def page_to_proto(page: Page) -> render_service_pb2.ListRendersResponse:
    """A page of renders."""
    return render_service_pb2.ListRendersResponse(
        renders=[render_to_proto(render) for render in page.renders], next_page_token=page.next_beyond or ""
    )


def deleted_to_proto(render_id: str) -> render_service_pb2.DeleteRenderResponse:
    """A render that is gone."""
    return render_service_pb2.DeleteRenderResponse(render_id=render_id)


def event_to_proto(render_id: str, event: RenderEvent) -> render_pb2.RenderEvent:
    """An event of a render's log."""
    return render_pb2.RenderEvent(
        seq=event.seq,
        at=timestamp(event.at),
        status=event.status,
        phase=event.phase,
        progress=progress_to_proto(event.progress),
        target=target_to_proto(event.target),
        attempt=event.attempt,
        message=event.message,
        error=_failure_to_proto(event.error),
        keep_alive=event.keep_alive,
        preview_url=_preview_url(render_id, event.preview_seq),
    )


def progress_to_proto(progress: Progress) -> render_pb2.Progress:
    """How far a render is."""
    return render_pb2.Progress(
        done_steps=progress.done_steps,
        total_steps=progress.total_steps,
        fraction=progress.fraction,
        queue_position=progress.queue_position,
        eta_seconds_p50=progress.eta_seconds_p50,
        eta_seconds_p90=progress.eta_seconds_p90,
        playable_seconds=progress.playable_seconds,
    )


def video_headers(sha256: str | None) -> tuple[tuple[str, str], ...]:
    """What an HTTP client learns before the first byte of a video; None for one that still grows."""
    if sha256 is None:
        return (("cache-control", "no-store"),)
    return (("etag", f'"{sha256}"'), ("cache-control", "private, max-age=31536000, immutable"))


def body_to_proto(media_type: str, part: bytes) -> httpbody_pb2.HttpBody:
    """A picture, or a part of a video."""
    return httpbody_pb2.HttpBody(content_type=media_type, data=part)


def _attempt_to_proto(record: AttemptRecord) -> render_pb2.RenderAttempt:
    return render_pb2.RenderAttempt(
        attempt=record.attempt,
        epoch=record.epoch,
        target=target_to_proto(record.target),
        started_at=timestamp(record.began_at),
        ended_at=timestamp(record.ended_at),
        gpu_seconds=record.gpu_seconds,
        outcome=record.outcome,
        message=record.message,
        resumed_steps=record.resumed_steps,
        phase_gpu_seconds=record.phase_gpu_seconds,
        cost_usd=usd(record.microdollars),
    )


def _timing_to_proto(timing: Timing) -> render_pb2.Timing:
    known: Mapping[str, Any] = vars(timing)
    return render_pb2.Timing(**{name: value for name, value in known.items() if value is not None})


def _output_to_proto(render_id: str, output: Output | None) -> render_pb2.RenderOutput | None:
    if output is None:
        return None
    return render_pb2.RenderOutput(
        video_url=f"/v1/renders/{render_id}/video",
        media_type=output.media_type,
        size_bytes=output.size_bytes,
        sha256=output.sha256,
        width=output.width,
        height=output.height,
        num_frames=output.num_frames,
        fps=output.fps,
        duration_seconds=output.num_frames / output.fps,
    )


def _preview_url(render_id: str, preview_seq: int) -> str:
    return f"/v1/renders/{render_id}/previews/{preview_seq}" if preview_seq else ""


def _failure_to_proto(failure: Failure | None) -> render_pb2.RenderError | None:
    if failure is None:
        return None
    return render_pb2.RenderError(reason=failure.reason, message=failure.message, retry=failure.retry)
