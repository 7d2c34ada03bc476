"""Between the scheduler's words and the contract's messages."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from forge.billing.v1 import estimate_pb2
from forge.catalog.v1 import model_pb2
from forge.common.v1 import target_pb2
from forge.scheduler.v1 import render_pb2, render_service_pb2, runtime_pb2, runtime_service_pb2
from forge.worker.v1 import worker_service_pb2
from google.api import httpbody_pb2
from google.protobuf import json_format, struct_pb2, timestamp_pb2

from services.scheduler.domain.facts import AttemptRecord, Failure, Output, PeakMemory, Phase, Progress, Timing
from services.scheduler.domain.fleet import Pin, Target
from services.scheduler.domain.inputs import Rule
from services.scheduler.domain.render import Render, RenderEvent
from services.scheduler.domain.runtime import Runtime, family_status
from services.scheduler.ports import Assignment, AttemptMoment, Estimate, LoadMoment, Made, Page, Version, WorkerState
from services.scheduler.usecases.fleet_view import RuntimeView, TargetView

IDEMPOTENCY_HEADER = "idempotency-key"
PREVIEW_MEDIA_TYPE = "image/webp"


def body(struct: struct_pb2.Struct) -> dict[str, Any]:
    """An inference body as plain data. Every number is a float, as on the wire."""
    return {name: _plain(value) for name, value in struct.fields.items()}


def idempotency_key(metadata: Any) -> str | None:
    """The idempotency key a client sent as a header."""
    return next((value for key, value in metadata or () if key == IDEMPOTENCY_HEADER and value), None)


def pin(gpu_type: str, region: str) -> Pin:
    """A pin, where empty means any."""
    return Pin(gpu_type or None, region or None)


def render_to_proto(render: Render) -> render_pb2.Render:
    """A render as its owner sees it."""
    message = render_pb2.Render(
        id=render.id,
        slug=render.slug,
        model_version=render.model_version,
        status=render.status,
        phase=render.phase,
        progress=progress_to_proto(render.progress),
        target=_target_to_proto(render.target),
        attempt=render.attempt,
        warnings=render.warnings,
        output=_output_to_proto(render.id, render.output),
        timing=_timing_to_proto(render.timing),
        was_cold_start=render.was_cold_start,
        estimated_cost_usd=render.estimated_cost_usd,
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
        priority=render.priority,
        prefer=render.prefer,
        max_cost_usd=render.max_cost_usd,
        pause_after_step=render.pause_after_step,
        retry_of=render.retry_of,
        branch_of=render.branch_of,
        gpu_seconds=render.gpu_seconds,
        attempts=map(_attempt_to_proto, render.attempts),
    )
    for name in ("created_at", "started_at", "ended_at", "expires_at", "deadline"):
        if moment := getattr(render, name):
            getattr(message, name).CopyFrom(_timestamp(moment))
    return message


def page_to_proto(page: Page) -> render_service_pb2.ListRendersResponse:
    """A page of renders."""
    return render_service_pb2.ListRendersResponse(
        renders=[render_to_proto(render) for render in page.renders], next_page_token=page.next_before or ""
    )


def event_to_proto(render_id: str, event: RenderEvent) -> render_pb2.RenderEvent:
    """An event of a render's log."""
    return render_pb2.RenderEvent(
        seq=event.seq,
        at=_timestamp(event.at),
        status=event.status,
        phase=event.phase,
        progress=progress_to_proto(event.progress),
        target=_target_to_proto(event.target),
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


def runtime_to_proto(view: RuntimeView) -> runtime_pb2.Runtime:
    """A runtime."""
    runtime = view.runtime
    return runtime_pb2.Runtime(
        id=runtime.id,
        slug=runtime.slug,
        version=runtime.model_version,
        gpu_type=runtime.target.gpu_type,
        region=runtime.target.region,
        simulated=runtime.target.simulated,
        status=runtime.status,
        busy=runtime.is_busy,
        keep_warm=runtime.keep_warm,
        start_phase=runtime.start_phase,
        startup_ms=runtime.startup_ms,
        idle_release_seconds=view.idle_release_seconds,
        start_message=runtime.start_message,
        start_done_bytes=runtime.start_done_bytes,
        start_total_bytes=runtime.start_total_bytes,
        created_at=_timestamp(runtime.created_at),
        cost_per_gpu_hour_usd=runtime.usd_per_hour,
        cost_so_far_usd=view.cost_so_far_usd,
    )


def family_to_proto(version: Version, views: list[RuntimeView]) -> runtime_service_pb2.FamilyStatus:
    """How warm a version is."""
    return runtime_service_pb2.FamilyStatus(
        slug=version.slug,
        version=version.model_version,
        status=family_status([view.runtime for view in views]),
        runtimes=map(runtime_to_proto, views),
    )


def started_to_proto(runtime: Runtime, was_cold_start: bool) -> runtime_service_pb2.StartRuntimeResponse:
    """A runtime that is warm now."""
    return runtime_service_pb2.StartRuntimeResponse(
        slug=runtime.slug,
        version=runtime.model_version,
        gpu_type=runtime.target.gpu_type,
        region=runtime.target.region,
        simulated=runtime.target.simulated,
        startup_ms=runtime.startup_ms or 0,
        was_cold_start=was_cold_start,
        keep_warm=runtime.keep_warm,
    )


def stopped_to_proto(version: Version, count: int) -> runtime_service_pb2.StopRuntimeResponse:
    """What was stopped."""
    return runtime_service_pb2.StopRuntimeResponse(
        slug=version.slug, version=version.model_version, stopped_runtimes=count
    )


def capacity_to_proto(views: list[TargetView]) -> runtime_service_pb2.GetCapacityResponse:
    """What is free where."""
    return runtime_service_pb2.GetCapacityResponse(
        targets=[
            runtime_pb2.TargetCapacity(
                gpu_type=view.target.gpu_type,
                region=view.target.region,
                simulated=view.target.simulated,
                total_slots=view.total_slots,
                free_slots=view.free_slots,
                idle_runtimes=view.idle_runtimes,
                busy_runtimes=view.busy_runtimes,
                queued_renders=view.queued_renders,
                queued_gpu_seconds=view.queued_gpu_seconds,
                open_circuits=[
                    runtime_pb2.OpenCircuit(
                        slug=circuit.slug,
                        version=circuit.model_version,
                        until=_timestamp(circuit.until),
                        message=circuit.message,
                    )
                    for circuit in view.open_circuits
                ],
            )
            for view in views
        ]
    )


def version_from_proto(
    slug: str, version: model_pb2.ModelVersion, schema: model_pb2.InputSchema, models: Iterable[model_pb2.Model]
) -> Version:
    """A version as the catalogue tells it, which has `models`."""
    figures = (figure for model in models for each in model.versions for figure in each.published_figures)
    plain = json_format.MessageToDict(schema.schema)
    return Version(
        slug=slug,
        model_version=version.version,
        pipeline=version.pipeline,
        weights_repository=version.weights_repository,
        weights_revision=version.weights_revision,
        weights_dtype=version.weights_dtype,
        vram_floor_gib=version.vram_floor_gib,
        schema=plain,
        rules=_rules(plain.get("x-forge-rules", ())),
        effects=_rules(plain.get("x-forge-effects", ())),
        known_targets=tuple(sorted({(figure.gpu_type, figure.region) for figure in figures})),
        max_run_seconds=float(version.max_run_seconds) or Version.max_run_seconds,
    )


def estimate(target: estimate_pb2.TargetEstimate) -> Estimate:
    """What a request takes and costs on a target. A start that is unknown is left out of the cold cost."""
    cold_start_ms = _present(target, "cold_start_ms")
    return Estimate(
        request_seconds=target.request_ms / 1000,
        start_seconds=None if cold_start_ms is None else cold_start_ms / 1000,
        warm_usd=target.estimated_warm_request_cost_usd,
        cold_usd=target.estimated_first_cold_request_cost_usd or target.estimated_warm_request_cost_usd,
        usd_per_hour=target.cost_per_gpu_hour_usd,
    )


def load_to_proto(version: Version) -> worker_service_pb2.LoadRequest:
    """What a worker needs to load a version."""
    return worker_service_pb2.LoadRequest(
        slug=version.slug,
        model_version=version.model_version,
        pipeline=version.pipeline,
        weights_repository=version.weights_repository,
        weights_revision=version.weights_revision,
        weights_dtype=version.weights_dtype,
    )


def load_moment(event: worker_service_pb2.LoadEvent) -> LoadMoment:
    """A moment of a load."""
    failure = _failure(event.failure) if event.HasField("failure") else None
    done, total = _present(event, "done_bytes"), _present(event, "total_bytes")
    return LoadMoment(event.phase, event.message or event.phase, failure, done, total)


def assignment_to_proto(assignment: Assignment, after_seq: int) -> worker_service_pb2.RenderRequest:
    """What a worker needs to render."""
    request = worker_service_pb2.RenderRequest(
        render_id=assignment.render_id,
        epoch=assignment.epoch,
        output_key=assignment.output_key,
        checkpoint_key=assignment.checkpoint_key,
        fail_when_out_of_memory=assignment.fail_when_out_of_memory,
        pause_after_step=assignment.pause_after_step,
        after_seq=after_seq,
    )
    request.input.update(assignment.inputs)
    return request


def attempt_moment(event: worker_service_pb2.AttemptEvent) -> AttemptMoment:
    """A moment of an attempt."""
    return AttemptMoment(
        seq=event.seq,
        phase=Phase(event.phase),
        done_steps=event.done_steps,
        total_steps=event.total_steps,
        fraction=event.fraction,
        eta_seconds_p50=_present(event, "eta_seconds_p50"),
        eta_seconds_p90=_present(event, "eta_seconds_p90"),
        message=event.message,
        pieces=event.pieces,
        playable_seconds=event.playable_seconds,
        preview_key=event.preview_key,
        checkpoint_key=event.checkpoint_key,
        result=_made(event.output) if event.HasField("output") else None,
        failure=_failure(event.failure) if event.HasField("failure") else None,
        canceled=event.HasField("canceled"),
        paused=event.HasField("paused"),
    )


def worker_state(status: worker_service_pb2.WorkerStatus) -> WorkerState:
    """What a worker says of itself."""
    return WorkerState(status.worker_id, status.state, status.slug, status.model_version, status.render_id)


def _rules(stated: Sequence[Mapping[str, Any]]) -> tuple[Rule, ...]:
    return tuple(Rule(rule["kind"], tuple(rule["fields"]), rule["text"]) for rule in stated)


def _plain(value: struct_pb2.Value) -> Any:
    """Like json_format, but it keeps NaN and infinities, so that they can be refused by name."""
    match value.WhichOneof("kind"):
        case "number_value":
            return value.number_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return body(value.struct_value)
        case "list_value":
            return [_plain(inner) for inner in value.list_value.values]
        case _:
            return None


def _present(message: Any, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def _timestamp(moment: datetime) -> timestamp_pb2.Timestamp:
    timestamp = timestamp_pb2.Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def _target_to_proto(target: Target | None) -> target_pb2.Target | None:
    if target is None:
        return None
    return target_pb2.Target(gpu_type=target.gpu_type, region=target.region, simulated=target.simulated)


def _attempt_to_proto(record: AttemptRecord) -> render_pb2.RenderAttempt:
    return render_pb2.RenderAttempt(
        attempt=record.attempt,
        epoch=record.epoch,
        target=_target_to_proto(record.target),
        started_at=_timestamp(record.began_at),
        ended_at=_timestamp(record.ended_at) if record.ended_at else None,
        gpu_seconds=record.gpu_seconds,
        outcome=record.outcome,
        message=record.message,
        resumed_steps=record.resumed_steps,
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


def _made(output: worker_service_pb2.AttemptOutput) -> Made:
    return Made(
        output=_output(output),
        phase_ms=dict(output.phase_ms),
        warnings=tuple(output.warnings),
        mode=output.mode,
        peak_memory={
            phase: PeakMemory(int(peak.allocated_bytes), int(peak.reserved_bytes))
            for phase, peak in output.peak_memory.items()
        },
        eta_error=_present(output, "eta_error"),
    )


def _output(output: worker_service_pb2.AttemptOutput) -> Output:
    return Output(
        key=output.key,
        media_type=output.media_type,
        size_bytes=output.size_bytes,
        sha256=output.sha256,
        width=output.width,
        height=output.height,
        num_frames=output.num_frames,
        fps=output.fps,
    )


def _failure_to_proto(failure: Failure | None) -> render_pb2.RenderError | None:
    if failure is None:
        return None
    return render_pb2.RenderError(reason=failure.reason, message=failure.message, retry=failure.retry)


def _failure(failure: worker_service_pb2.AttemptFailure) -> Failure:
    return Failure(failure.reason, failure.message, failure.retry)
