"""Builders for the command's tests: events, renders, and a platform that answers from memory."""

from __future__ import annotations

# ruff: noqa: N802 — the contract names the RPCs
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from click.testing import CliRunner, Result
from forge.accounts.v1 import account_service_pb2, account_service_pb2_grpc, api_key_pb2
from forge.billing.v1 import billing_estimate_service_pb2_grpc, estimate_pb2
from forge.catalog.v1 import catalog_service_pb2, catalog_service_pb2_grpc, model_pb2
from forge.common.v1 import target_pb2
from forge.scheduler.v1 import (
    render_pb2,
    render_service_pb2,
    render_service_pb2_grpc,
    runtime_pb2,
    runtime_service_pb2,
    runtime_service_pb2_grpc,
)
from google.api import httpbody_pb2
from google.protobuf import any_pb2, json_format
from google.rpc import status_pb2
from grpc_status import rpc_status

from forge_cli.__main__ import forge

KEY = "fk_test_0123456789"
VIDEO = b"not really a video" * 1000
PATIENCE_SECONDS = 30
SCHEMA = {
    "type": "object",
    "required": ["prompt", "image"],
    "properties": {
        "prompt": {"type": "string"},
        "image": {"type": "string", "x-forge-media": "image"},
        "num_frames": {"type": "integer", "minimum": 1, "maximum": 25, "default": 25, "x-forge-unit": "frames"},
        "guidance_scale": {"type": "number", "default": 3.0},
        "tiled": {"type": "boolean"},
    },
    "x-forge-rules": [{"kind": "divides", "fields": ["num_frames"], "text": "num_frames is 4k+1"}],
}


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


@dataclass
class Platform:
    """What the fake platform answers, and what it was asked."""

    address: str = ""
    story: list[render_pb2.RenderEvent] = field(default_factory=make_story)
    render: render_pb2.Render = field(default_factory=make_render)
    break_after: list[int] = field(default_factory=list)
    """Streams break after these events, one stream each."""
    refusal: status_pb2.Status | None = None
    outages: int = 0
    """So many calls find a platform that cannot answer now."""
    videos: list[Sequence[bytes | status_pb2.Status | Callable[[], object]]] = field(default_factory=list)
    """What is sent for a video, one call each: bytes, or a status that breaks it off; in between something may be done.
    The finished video once all are used up."""
    told_after: dict[int, threading.Event] = field(default_factory=dict)
    """Events of the story that are told only after something else has happened."""
    waited_in_vain: list[int] = field(default_factory=list)
    """Those of them that were told although it had not."""
    read: threading.Event = field(default_factory=threading.Event)
    """Set when a render is asked for as it stands."""
    watched_from: list[int] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    started: list[runtime_service_pb2.StartRuntimeRequest] = field(default_factory=list)

    def admit(self, context: Any) -> None:
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {KEY}":
            self.refuse(context, pack_status(16, "a valid API key is needed"))
        if self.outages:
            self.outages -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "upstream connect error")
        if self.refusal:
            self.refuse(context, self.refusal)

    def refuse(self, context: Any, status: status_pb2.Status) -> None:
        context.abort_with_status(rpc_status.to_status(status))


class Renders:
    """Tells the story."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def Infer(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")

    def CreateRender(self, request: Any, context: Any) -> render_pb2.Render:
        self.platform.admit(context)
        self.platform.inputs.append(json_format.MessageToDict(request.input))
        return make_render(status="queued", phase="queued")

    def GetRender(self, request: Any, context: Any) -> render_pb2.Render:
        self.platform.admit(context)
        self.platform.read.set()
        return self.platform.render

    def ListRenders(self, request: Any, context: Any) -> render_service_pb2.ListRendersResponse:
        self.platform.admit(context)
        return render_service_pb2.ListRendersResponse(renders=[self.platform.render])

    def CancelRender(self, request: Any, context: Any) -> render_pb2.Render:
        self.platform.admit(context)
        return make_render(status="canceled")

    def WatchRender(self, request: Any, context: Any) -> Iterator[render_pb2.RenderEvent]:
        self.platform.admit(context)
        self.platform.watched_from.append(request.after_seq)
        stop_at = self.platform.break_after.pop(0) if self.platform.break_after else None
        for event in self.platform.story[request.after_seq :]:
            awaited = self.platform.told_after.get(event.seq)
            if awaited is not None and not awaited.wait(PATIENCE_SECONDS):
                self.platform.waited_in_vain.append(event.seq)
            yield event
            alive = render_pb2.RenderEvent()
            alive.CopyFrom(event)
            alive.keep_alive = True
            yield alive
            if event.seq == stop_at:
                context.abort(grpc.StatusCode.UNAVAILABLE, "going away")

    def GetVideo(self, request: Any, context: Any) -> Iterator[httpbody_pb2.HttpBody]:
        self.platform.admit(context)
        finished = [VIDEO[start : start + 4096] for start in range(0, len(VIDEO), 4096)]
        for part in self.platform.videos.pop(0) if self.platform.videos else finished:
            if isinstance(part, bytes):
                yield httpbody_pb2.HttpBody(content_type="video/mp4", data=part)
            elif isinstance(part, status_pb2.Status):
                self.platform.refuse(context, part)
            else:
                part()

    def GetPreview(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")


class Catalog:
    """One model, called toy."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.model = model_pb2.Model(
            slug="toy",
            title="A toy [bold]",
            description="Makes toys move.",
            license=model_pb2.License(id="MIT"),
            input_modalities=["text", "image"],
            output_modalities=["video"],
            default_version="v1",
            versions=[model_pb2.ModelVersion(version="v1", pipeline="ToyPipeline", vram_floor_gib=8)],
        )

    def ListModels(self, request: Any, context: Any) -> catalog_service_pb2.ListModelsResponse:
        self.platform.admit(context)
        return catalog_service_pb2.ListModelsResponse(models=[] if request.query == "none" else [self.model])

    def GetModel(self, request: Any, context: Any) -> model_pb2.Model:
        self.platform.admit(context)
        return self.model

    def GetInputSchema(self, request: Any, context: Any) -> model_pb2.InputSchema:
        self.platform.admit(context)
        schema = model_pb2.InputSchema(slug="toy", model_version="v1")
        schema.schema.update(SCHEMA)
        schema.example.update({"model": "toy", "num_frames": 25, "image": "data:image/png;base64," + "A" * 200})
        return schema

    def GetInferenceRoutes(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")


class Runtimes:
    """One warm runtime."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def GetFamilyStatus(self, request: Any, context: Any) -> runtime_service_pb2.FamilyStatus:
        self.platform.admit(context)
        runtime = runtime_pb2.Runtime(
            gpu_type="L40S", region="eu-north1", status="warm", startup_ms=8_400, idle_release_seconds=125.0
        )
        return runtime_service_pb2.FamilyStatus(slug="toy", version=request.version, status="warm", runtimes=[runtime])

    def StartRuntime(self, request: Any, context: Any) -> runtime_service_pb2.StartRuntimeResponse:
        self.platform.admit(context)
        self.platform.started.append(request)
        return runtime_service_pb2.StartRuntimeResponse(
            slug="toy", version="v1", gpu_type="L40S", region="eu-north1", startup_ms=8_400, was_cold_start=True
        )

    def StopRuntime(self, request: Any, context: Any) -> runtime_service_pb2.StopRuntimeResponse:
        self.platform.admit(context)
        return runtime_service_pb2.StopRuntimeResponse(slug="toy", version="v1", stopped_runtimes=1)

    def GetCapacity(self, request: Any, context: Any) -> runtime_service_pb2.GetCapacityResponse:
        self.platform.admit(context)
        target = runtime_pb2.TargetCapacity(gpu_type="L40S", region="eu-north1", total_slots=2, free_slots=1)
        return runtime_service_pb2.GetCapacityResponse(targets=[target])


class Estimates:
    """One figure."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def GetRunEstimate(self, request: Any, context: Any) -> estimate_pb2.RunEstimate:
        self.platform.admit(context)
        target = estimate_pb2.TargetEstimate(
            gpu_type="L40S", region="eu-north1", request_ms=61_000, cost_per_gpu_hour_usd=1.8, basis="published"
        )
        return estimate_pb2.RunEstimate(slug="toy", model_version="v1", selected_target=target, targets=[target])

    def ListPrices(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")


class Accounts:
    """One key."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.key = api_key_pb2.ApiKey(id="key_1", name="laptop", prefix="fk_abc", scopes=["read"])

    def GetAccount(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")

    def CreateApiKey(self, request: Any, context: Any) -> account_service_pb2.CreateApiKeyResponse:
        self.platform.admit(context)
        made = api_key_pb2.ApiKey(id="key_2", name=request.name, scopes=request.scopes)
        if request.HasField("ttl"):
            made.expires_at.seconds = request.ttl.seconds
        return account_service_pb2.CreateApiKeyResponse(api_key=made, secret="fk_abc_secret")

    def ListApiKeys(self, request: Any, context: Any) -> account_service_pb2.ListApiKeysResponse:
        self.platform.admit(context)
        return account_service_pb2.ListApiKeysResponse(api_keys=[self.key])

    def RevokeApiKey(self, request: Any, context: Any) -> api_key_pb2.ApiKey:
        self.platform.admit(context)
        return self.key


@pytest.fixture
def platform() -> Iterator[Platform]:
    """A fake platform on a free port."""
    found = Platform()
    server: Any = grpc.server(ThreadPoolExecutor(max_workers=4))  # in threads: the commands own the event loop
    render_service_pb2_grpc.add_RenderServiceServicer_to_server(cast("Any", Renders(found)), server)
    catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(cast("Any", Catalog(found)), server)
    runtime_service_pb2_grpc.add_RuntimeServiceServicer_to_server(cast("Any", Runtimes(found)), server)
    billing_estimate_service_pb2_grpc.add_BillingEstimateServiceServicer_to_server(
        cast("Any", Estimates(found)), server
    )
    account_service_pb2_grpc.add_AccountServiceServicer_to_server(cast("Any", Accounts(found)), server)
    found.address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield found
    finally:
        server.stop(None).wait()


@pytest.fixture
def environment(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What `forge` needs to find the fake platform and its key; the working directory becomes an empty one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return {"FORGE_HOME": str(tmp_path / "home"), "FORGE_API_BASE": platform.address, "FORGE_API_KEY": KEY}


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., Result]:
    """Runs `forge …` against the fake platform."""

    def run_forge(*arguments: str, key: str | None = KEY) -> Result:
        return CliRunner().invoke(forge, arguments, env={**environment, "FORGE_API_KEY": key})

    return run_forge


@pytest.fixture
def event() -> Callable[..., render_pb2.RenderEvent]:
    """Builds an event."""
    return make_event


@pytest.fixture
def story() -> list[render_pb2.RenderEvent]:
    """The events of a render that goes well."""
    return make_story()


@pytest.fixture
def render() -> Callable[..., render_pb2.Render]:
    """Builds a render that succeeded."""
    return make_render


@pytest.fixture
def packed_status() -> Callable[..., status_pb2.Status]:
    """Builds a google.rpc.Status with details."""
    return pack_status
