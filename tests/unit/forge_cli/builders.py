"""Builders for the command's tests: events, renders, runtimes and statuses."""

import hashlib
from typing import Any

from forge.billing.v1 import estimate_pb2, receipt_pb2
from forge.catalog.v1 import measurement_pb2
from forge.common.v1 import target_pb2
from forge.scheduler.v1 import probe_pb2, render_pb2, render_trace_pb2, runtime_pb2
from google.protobuf import any_pb2
from google.rpc import status_pb2

VIDEO = b"not really a video" * 1000
PREVIEW = b"not really a picture"


def make_event(seq: int, phase: str, *, status: str = "running", **given: Any) -> render_pb2.RenderEvent:
    """An event at `seq` seconds."""
    progress: Any = {
        name: given.pop(name) for name in list(given) if name in render_pb2.Progress.DESCRIPTOR.fields_by_name
    }
    event = render_pb2.RenderEvent(seq=seq, phase=phase, status=status, progress=progress, **given)
    event.at.seconds = 1_000_000 + seq
    return event


def make_story() -> list[render_pb2.RenderEvent]:
    """The events of a render that goes well."""
    return [
        make_event(1, "queued", status="queued", queue_position=2),
        make_event(2, "starting", message="loading weights"),
        make_event(3, "encoding"),
        *(
            make_event(
                3 + step, "denoising", done_steps=step, total_steps=25, fraction=step / 30, eta_seconds_p50=30.0 - step
            )
            for step in range(1, 26)
        ),
        make_event(29, "decoding", done_steps=25, total_steps=25, fraction=0.9),
        make_event(30, "done", status="succeeded", done_steps=25, total_steps=25, fraction=1.0),
    ]


def make_render(**given: Any) -> render_pb2.Render:
    """A render that succeeded."""
    facts: dict[str, Any] = {
        "id": "rnd_1",
        "slug": "toy",
        "status": "succeeded",
        "phase": "done",
        "target": target_pb2.Target(gpu_type="H200", region="eu-north2", simulated=True),
        "output": render_pb2.RenderOutput(
            size_bytes=len(VIDEO),
            sha256=hashlib.sha256(VIDEO).hexdigest(),
            num_frames=25,
            width=1024,
            height=576,
            fps=7,
        ),
        "timing": render_pb2.Timing(total_ms=84_100, cold_start_ms=9_300, denoise_ms=40_000),
        "estimated_cost_usd": 0.0123,
        "warnings": ["prompt has no effect"],
    }
    return render_pb2.Render(**(facts | given))


def pack_status(code: int, message: str, *details: Any) -> status_pb2.Status:
    """A google.rpc.Status with packed details."""
    status = status_pb2.Status(code=code, message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def make_capacity(**given: Any) -> runtime_pb2.TargetCapacity:
    """A target with one free slot of two."""
    facts: dict[str, Any] = {"gpu_type": "L40S", "region": "eu-north1", "total_slots": 2, "free_slots": 1}
    return runtime_pb2.TargetCapacity(**(facts | given))


def make_runtime(**given: Any) -> runtime_pb2.Runtime:
    """A runtime that is warm."""
    facts: dict[str, Any] = {
        "id": "rt_1",
        "gpu_type": "L40S",
        "region": "eu-north1",
        "status": "warm",
        "startup_ms": 8_400,
        "idle_release_seconds": 125.0,
    }
    return runtime_pb2.Runtime(**(facts | given))


def make_row(**given: Any) -> measurement_pb2.TargetRow:
    """A row that is supported."""
    facts: dict[str, Any] = {
        "gpu_type": "H200",
        "region": "eu-north2",
        "offered": True,
        "status": "supported",
        "explanation": "12 of 12 fresh runs succeeded",
        "source": "measured",
        "sample_count": 12,
        "request_ms_p50": 41_200,
        "request_ms_p50_low": 40_100,
        "request_ms_p50_high": 43_000,
        "request_ms": 41_500,
        "cold_start_count": 3,
        "cold_start_ms": 73_100,
        "peak_allocated_gib": 12.44,
        "peak_reserved_gib": 14.0,
        "attempt_count": 12,
        "observed_success_rate": 1.0,
        "success_rate_low": 0.757,
        "success_rate_high": 1.0,
        "age_seconds": 11_000.0,
        "cost_per_gpu_hour_usd": 4.5,
        "estimated_warm_request_cost_usd": 0.0515,
        "estimated_cost_per_output_second_usd": 0.0103,
        "relative_speed": 1.0,
        "is_baseline": True,
    }
    return measurement_pb2.TargetRow(**(facts | given))


def make_pending_row(**given: Any) -> measurement_pb2.TargetRow:
    """A row that nobody has measured here."""
    facts: dict[str, Any] = {
        "gpu_type": "L40S",
        "region": "eu-north1",
        "offered": True,
        "status": "pending",
        "explanation": "awaiting a probe",
        "cost_per_gpu_hour_usd": 1.8,
    }
    return measurement_pb2.TargetRow(**(facts | given))


def make_target_estimate(**given: Any) -> estimate_pb2.TargetEstimate:
    """What a request takes and costs on a target, from a published figure."""
    facts: dict[str, Any] = {
        "gpu_type": "L40S",
        "region": "eu-north1",
        "request_ms": 61_000,
        "request_seconds_p50": 61.0,
        "request_seconds_p90": 79.4,
        "cost_per_gpu_hour_usd": 1.8,
        "estimated_warm_request_cost_usd": 0.0305,
        "basis": "published",
        "offered": True,
        "keeps_limits": True,
    }
    return estimate_pb2.TargetEstimate(**(facts | given))


def make_estimate(*targets: estimate_pb2.TargetEstimate, **given: Any) -> estimate_pb2.RunEstimate:
    """An estimate that selects the first of the targets."""
    found = targets or (make_target_estimate(),)
    facts: dict[str, Any] = {
        "slug": "toy",
        "model_version": "v1",
        "estimated_warm_request_cost_usd": found[0].estimated_warm_request_cost_usd,
        "selected_target": found[0],
        "targets": found,
        "explanation": "it is the cheapest",
    }
    return estimate_pb2.RunEstimate(**(facts | given))


def make_receipt(**given: Any) -> receipt_pb2.Receipt:
    """The receipt of a render that lost its first worker."""
    place: dict[str, Any] = {"gpu_type": "L40S", "region": "eu-north1", "cost_per_gpu_hour_usd": 1.8}
    facts: dict[str, Any] = {
        "render_id": "rnd_1",
        "slug": "toy",
        "model_version": "v1",
        "status": "succeeded",
        "is_final": True,
        "gpu_seconds": 70.5,
        "cost_usd": 0.03525,
        "lines": [
            {**place, "attempt": 1, "phase": "starting", "gpu_seconds": 9.3, "cost_usd": 0.00465, "outcome": "lost"},
            {**place, "attempt": 1, "phase": "denoising", "gpu_seconds": 1.2, "cost_usd": 0.0006, "outcome": "lost"},
            {
                **place,
                "attempt": 2,
                "phase": "denoising",
                "gpu_seconds": 60.0,
                "cost_usd": 0.03,
                "outcome": "succeeded",
            },
        ],
    }
    return receipt_pb2.Receipt(**(facts | given))


def make_probe(*runs: dict[str, Any], **given: Any) -> probe_pb2.Probe:
    """A probe of L40S eu-north1."""
    facts: dict[str, Any] = {
        "id": "prb_1",
        "slug": "toy",
        "model_version": "v1",
        "target": target_pb2.Target(gpu_type="L40S", region="eu-north1"),
        "status": "succeeded",
        "origin": "asked",
        "runs": runs,
    }
    return probe_pb2.Probe(**(facts | given))


def make_trace() -> render_trace_pb2.RenderTrace:
    """The trace of a render whose first worker was lost, 10 s long with 2 s in which nothing was told of."""

    def span(name: str, parent: str, began: int, seconds: float | None, **facts: str) -> render_trace_pb2.TraceSpan:
        found = render_trace_pb2.TraceSpan(
            span_id=f"{name} {began}", parent_span_id=parent, service="scheduler", name=name
        )
        found.started_at.seconds = 1_000_000 + began
        found.attributes.update({f"forge.{fact}": value for fact, value in facts.items()})
        found.status = "error" if facts.get("outcome") == "lost" else "unset"
        if seconds is not None:
            found.duration_ms = 1000 * seconds
        return found

    spans = [
        span("render", "the client's", 0, None),
        span("queue", "render 0", 0, 1),
        span("attempt", "render 0", 1, 3, outcome="lost", reason="WORKER_LOST"),
        span("attempt", "render 0", 6, 4, outcome="succeeded"),
        span("denoising", "attempt 6", 6, 4, done_steps="25", total_steps="25"),
    ]
    spans[-1].events.add(name="checkpoint")
    return render_trace_pb2.RenderTrace(render_id="rnd_1", trace_id="ab" * 16, spans=spans, is_whole=True)
