"""Builders for the command's tests: events, renders, runtimes and statuses."""

import hashlib
from typing import Any

from forge.common.v1 import target_pb2
from forge.scheduler.v1 import render_pb2, runtime_pb2
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
