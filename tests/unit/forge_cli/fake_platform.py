"""A platform that answers from memory, over gRPC."""

from __future__ import annotations

# ruff: noqa: N802 — the contract names the RPCs
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
from forge.accounts.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    api_key_pb2,
    audit_pb2,
    audit_service_pb2,
    audit_service_pb2_grpc,
)
from forge.billing.v1 import (
    billing_estimate_service_pb2,
    billing_estimate_service_pb2_grpc,
    estimate_pb2,
    receipt_pb2,
)
from forge.catalog.v1 import catalog_service_pb2, catalog_service_pb2_grpc, measurement_pb2, model_pb2
from forge.scheduler.v1 import (
    probe_pb2,
    probe_service_pb2,
    probe_service_pb2_grpc,
    render_pb2,
    render_service_pb2,
    render_service_pb2_grpc,
    render_trace_pb2,
    runtime_pb2,
    runtime_service_pb2,
    runtime_service_pb2_grpc,
    upload_pb2,
    upload_service_pb2,
    upload_service_pb2_grpc,
    webhook_pb2,
    webhook_service_pb2,
    webhook_service_pb2_grpc,
)
from google.api import httpbody_pb2
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tests.unit.forge_cli.builders import (
    PREVIEW,
    VIDEO,
    make_capacity,
    make_estimate,
    make_receipt,
    make_render,
    make_row,
    make_runtime,
    make_story,
    make_trace,
    pack_status,
)

KEY = "fk_test_0123456789"
PATIENCE_SECONDS = 30
SCHEMA = {
    "type": "object",
    "required": ["prompt", "image"],
    "properties": {
        "prompt": {"type": "string", "x-forge-branchable": True},
        "image": {"type": "string", "x-forge-media": "image"},
        "num_frames": {"type": "integer", "minimum": 1, "maximum": 25, "default": 25, "x-forge-unit": "frames"},
        "guidance_scale": {"type": "number", "default": 3.0},
        "tiled": {"type": "boolean"},
    },
    "x-forge-rules": [{"kind": "divides", "fields": ["num_frames"], "text": "num_frames is 4k+1"}],
}


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
    after_telling: dict[int, threading.Event] = field(default_factory=dict)
    """Set when an event of the story has been told."""
    waited_in_vain: list[int] = field(default_factory=list)
    """Those of them that were told although it had not."""
    read: threading.Event = field(default_factory=threading.Event)
    """Set when a render is asked for as it stands."""
    watched_from: list[int] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    """Requests that change something, but for those of renders that are `inputs`."""
    families: list[runtime_service_pb2.FamilyStatus] = field(default_factory=list)
    """What the first stream of runtimes tells; then it ends. A runtime that was asked for is not warm before."""
    family_watches: int = 0
    families_told: threading.Event = field(default_factory=threading.Event)
    restart: Callable[[], None] = lambda: None
    """Breaks every connection and comes back at the same address."""
    capacity: list[runtime_pb2.TargetCapacity] = field(default_factory=lambda: [make_capacity()])
    runtime: runtime_pb2.Runtime = field(default_factory=make_runtime)
    rows: list[measurement_pb2.TargetRow] = field(default_factory=lambda: [make_row()])
    """The performance table of every version."""
    estimate: estimate_pb2.RunEstimate = field(default_factory=make_estimate)
    receipt: receipt_pb2.Receipt = field(default_factory=make_receipt)
    usage: billing_estimate_service_pb2.Usage = field(default_factory=billing_estimate_service_pb2.Usage)
    calibration: estimate_pb2.Calibration = field(default_factory=estimate_pb2.Calibration)
    prices: list[estimate_pb2.Price] = field(default_factory=list)
    probes: list[list[probe_pb2.Probe | status_pb2.Status]] = field(default_factory=list)
    """One list a probe: what it is when it is made, and then each time it is looked at; the last one for ever."""
    read_rows: list[Any] = field(default_factory=list)
    """What the ledger was asked."""
    unmeasured: status_pb2.Status | None = None
    """What the ledger refuses with."""

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

    def GetRenderTrace(self, request: Any, context: Any) -> render_trace_pb2.RenderTrace:
        self.platform.admit(context)
        return make_trace()

    def ListRenders(self, request: Any, context: Any) -> render_service_pb2.ListRendersResponse:
        self.platform.admit(context)
        return render_service_pb2.ListRendersResponse(renders=[self.platform.render])

    def CancelRender(self, request: Any, context: Any) -> render_pb2.Render:
        self.platform.admit(context)
        return make_render(status="canceled")

    def RetryRender(self, request: Any, context: Any) -> render_pb2.Render:
        return self._go_on(request, context, "rnd_2")

    def ContinueRender(self, request: Any, context: Any) -> render_pb2.Render:
        return self._go_on(request, context, request.render_id)

    def BranchRender(self, request: Any, context: Any) -> render_pb2.Render:
        return self._go_on(request, context, "rnd_3")

    def _go_on(self, request: Any, context: Any, render_id: str) -> render_pb2.Render:
        self.platform.admit(context)
        self.platform.asked.append(request)
        return make_render(id=render_id, status="queued", phase="queued", last_seq=self.platform.render.last_seq)

    def WatchRender(self, request: Any, context: Any) -> Iterator[render_pb2.RenderEvent]:
        self.platform.admit(context)
        self.platform.watched_from.append(request.after_seq)
        stop_at = self.platform.break_after.pop(0) if self.platform.break_after else None
        for event in self.platform.story[request.after_seq :]:
            awaited = self.platform.told_after.get(event.seq)
            if awaited is not None and not awaited.wait(PATIENCE_SECONDS):
                self.platform.waited_in_vain.append(event.seq)
            yield event
            if event.seq in self.platform.after_telling:
                self.platform.after_telling.pop(event.seq).set()
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

    def GetPreview(self, request: Any, context: Any) -> httpbody_pb2.HttpBody:
        self.platform.admit(context)
        return httpbody_pb2.HttpBody(content_type="image/webp", data=PREVIEW)

    def GetThumbnail(self, request: Any, context: Any) -> httpbody_pb2.HttpBody:
        self.platform.admit(context)
        return httpbody_pb2.HttpBody(content_type="image/webp", data=PREVIEW)

    def GetVideoAddress(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")

    def DeleteRender(self, request: Any, context: Any) -> render_service_pb2.DeleteRenderResponse:
        self.platform.admit(context)
        return render_service_pb2.DeleteRenderResponse(render_id=request.render_id)


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
            versions=[
                model_pb2.ModelVersion(version="v1", pipeline="ToyPipeline", vram_floor_gib=8, max_run_seconds=5400)
            ],
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

    def GetReliability(self, request: Any, context: Any) -> catalog_service_pb2.Reliability:
        self._admit_to_ledger(request, context)
        rows = [row for row in self.platform.rows if row.gpu_type == (request.gpu_type or row.gpu_type)]
        counts: dict[str, int] = {}
        for row in rows:
            counts[row.status] = counts.get(row.status, 0) + 1
        return catalog_service_pb2.Reliability(
            slug="toy",
            model_version="v1",
            reliability_status="supported" if "supported" in counts else "pending",
            supported_rows=counts.get("supported", 0),
            total_rows=len(rows),
            status_counts=counts,
            targets=rows,
        )

    def ListTargets(self, request: Any, context: Any) -> catalog_service_pb2.ListTargetsResponse:
        self._admit_to_ledger(request, context)
        rows = self.platform.rows
        supported = [row for row in rows if row.status == "supported"]
        found = catalog_service_pb2.ListTargetsResponse(
            slug="toy", model_version="v1", targets=rows, supported_rows=len(supported), total_rows=len(rows)
        )
        for row in rows:
            if row.is_baseline:
                found.baseline = f"{row.gpu_type}@{row.region}"
        if supported:
            found.fastest_supported_target.CopyFrom(min(supported, key=lambda row: row.request_ms_p50))
            found.lowest_cost_supported_target.CopyFrom(
                min(supported, key=lambda row: row.estimated_warm_request_cost_usd)
            )
        return found

    def ListMeasurements(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")

    def GetSnippets(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")

    def _admit_to_ledger(self, request: Any, context: Any) -> None:
        self.platform.admit(context)
        if self.platform.unmeasured:
            self.platform.refuse(context, self.platform.unmeasured)
        self.platform.read_rows.append(request)


class Runtimes:
    """One warm runtime."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def GetFamilyStatus(self, request: Any, context: Any) -> runtime_service_pb2.FamilyStatus:
        self.platform.admit(context)
        found = self.platform.runtime
        return runtime_service_pb2.FamilyStatus(
            slug="toy", version=request.version, status=found.status, runtimes=[found]
        )

    def WatchFamily(self, request: Any, context: Any) -> Iterator[runtime_service_pb2.FamilyStatus]:
        self.platform.admit(context)
        self.platform.family_watches += 1
        if self.platform.family_watches == 1:
            yield from self.platform.families
        else:
            self.platform.families_told.set()  # who asks again has read the first stream to its end

    def StartRuntime(self, request: Any, context: Any) -> runtime_service_pb2.StartRuntimeResponse:
        self.platform.admit(context)
        self.platform.asked.append(request)
        if self.platform.families:
            self.platform.families_told.wait(PATIENCE_SECONDS)
        return runtime_service_pb2.StartRuntimeResponse(
            slug="toy", version="v1", gpu_type="L40S", region="eu-north1", startup_ms=8_400, was_cold_start=True
        )

    def StopRuntime(self, request: Any, context: Any) -> runtime_service_pb2.StopRuntimeResponse:
        self.platform.admit(context)
        return runtime_service_pb2.StopRuntimeResponse(slug="toy", version="v1", stopped_runtimes=1)

    def GetCapacity(self, request: Any, context: Any) -> runtime_service_pb2.GetCapacityResponse:
        self.platform.admit(context)
        return runtime_service_pb2.GetCapacityResponse(targets=self.platform.capacity)


class Webhooks:
    """One webhook, and one message to it that was given up."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.webhook = webhook_pb2.Webhook(id="wh_1", url="https://hooks.test/x", statuses=["failed"])
        self.delivery = webhook_pb2.Delivery(
            id="dlv_1",
            webhook_id="wh_1",
            render_id="rnd_1",
            status="failed",
            state="dead",
            tries=8,
            last_answer="HTTP 500",
        )

    def CreateWebhook(self, request: Any, context: Any) -> webhook_service_pb2.CreateWebhookResponse:
        self._note(request, context)
        return webhook_service_pb2.CreateWebhookResponse(webhook=self.webhook, secret="whsec_secret")

    def ListWebhooks(self, request: Any, context: Any) -> webhook_service_pb2.ListWebhooksResponse:
        self.platform.admit(context)
        return webhook_service_pb2.ListWebhooksResponse(webhooks=[self.webhook])

    def DeleteWebhook(self, request: Any, context: Any) -> webhook_service_pb2.DeleteWebhookResponse:
        self._note(request, context)
        return webhook_service_pb2.DeleteWebhookResponse()

    def ListDeliveries(self, request: Any, context: Any) -> webhook_service_pb2.ListDeliveriesResponse:
        self._note(request, context)
        return webhook_service_pb2.ListDeliveriesResponse(deliveries=[self.delivery])

    def ReplayDelivery(self, request: Any, context: Any) -> webhook_pb2.Delivery:
        self._note(request, context)
        return webhook_pb2.Delivery(id=request.delivery_id, state="waiting")

    def _note(self, request: Any, context: Any) -> None:
        self.platform.admit(context)
        self.platform.asked.append(request)


class Uploads:
    """Keeps one upload."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.upload = upload_pb2.Upload(
            id="upl_1", uri="forge-upload://upl_1", media_type="image/png", width=8, height=4, size_bytes=2_500_000
        )
        self.upload.expires_at.FromJsonString("2030-01-31T12:00:00Z")

    def CreateUpload(self, request: Any, context: Any) -> upload_pb2.Upload:
        self.platform.admit(context)
        self.platform.asked.append(request)
        return self.upload

    def ListUploads(self, request: Any, context: Any) -> upload_service_pb2.ListUploadsResponse:
        self.platform.admit(context)
        return upload_service_pb2.ListUploadsResponse(uploads=[self.upload])

    def GetUpload(self, request: Any, context: Any) -> upload_pb2.Upload:
        self.platform.admit(context)
        return self.upload

    def DeleteUpload(self, request: Any, context: Any) -> upload_service_pb2.DeleteUploadResponse:
        self.platform.admit(context)
        self.platform.asked.append(request)
        return upload_service_pb2.DeleteUploadResponse()


class Estimates:
    """What is expected, and what it came to."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def GetRunEstimate(self, request: Any, context: Any) -> estimate_pb2.RunEstimate:
        return self._note(request, context, self.platform.estimate)

    def EstimateInput(self, request: Any, context: Any) -> estimate_pb2.RunEstimate:
        return self._note(request, context, self.platform.estimate)

    def ListPrices(self, request: Any, context: Any) -> billing_estimate_service_pb2.ListPricesResponse:
        return self._note(
            request, context, billing_estimate_service_pb2.ListPricesResponse(prices=self.platform.prices)
        )

    def GetReceipt(self, request: Any, context: Any) -> receipt_pb2.Receipt:
        return self._note(request, context, self.platform.receipt)

    def GetUsage(self, request: Any, context: Any) -> billing_estimate_service_pb2.Usage:
        return self._note(request, context, self.platform.usage)

    def ListCalibrations(self, request: Any, context: Any) -> billing_estimate_service_pb2.ListCalibrationsResponse:
        self.platform.admit(context)
        return billing_estimate_service_pb2.ListCalibrationsResponse(overall=self.platform.calibration)

    def _note(self, request: Any, context: Any, answer: Any) -> Any:
        self.platform.admit(context)
        self.platform.asked.append(request)
        return answer


class Probes:
    """Measures as the platform says."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def CreateProbes(self, request: Any, context: Any) -> probe_service_pb2.CreateProbesResponse:
        self.platform.admit(context)
        self.platform.asked.append(request)
        return probe_service_pb2.CreateProbesResponse(
            probes=[
                cast("probe_pb2.Probe", story.pop(0) if len(story) > 1 else story[0]) for story in self.platform.probes
            ]
        )

    def GetProbe(self, request: Any, context: Any) -> probe_pb2.Probe:
        self.platform.admit(context)
        for story in self.platform.probes:
            if isinstance(story[-1], probe_pb2.Probe) and story[-1].id == request.probe_id:
                found = story.pop(0) if len(story) > 1 else story[0]
                if isinstance(found, status_pb2.Status):
                    self.platform.refuse(context, found)
                return cast("probe_pb2.Probe", found)
        unknown = pack_status(5, "no such probe", error_details_pb2.ErrorInfo(reason="PROBE_NOT_FOUND", domain="forge"))
        self.platform.refuse(context, unknown)
        raise AssertionError

    def ListProbes(self, request: Any, context: Any) -> probe_service_pb2.ListProbesResponse:
        self.platform.admit(context)
        self.platform.asked.append(request)
        newest = [cast("probe_pb2.Probe", story[-1]) for story in self.platform.probes]
        return probe_service_pb2.ListProbesResponse(probes=newest)

    def CancelProbe(self, request: Any, context: Any) -> probe_pb2.Probe:
        self.platform.admit(context)
        self.platform.asked.append(request)
        return probe_pb2.Probe(id=request.probe_id, status="canceled")


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
        if request.HasField("rate_limit"):
            made.rate_limit.CopyFrom(request.rate_limit)
        if request.HasField("ttl"):
            made.expires_at.seconds = request.ttl.seconds
        return account_service_pb2.CreateApiKeyResponse(api_key=made, secret="fk_abc_secret")

    def ListApiKeys(self, request: Any, context: Any) -> account_service_pb2.ListApiKeysResponse:
        self.platform.admit(context)
        return account_service_pb2.ListApiKeysResponse(api_keys=[self.key])

    def RotateApiKey(self, request: Any, context: Any) -> account_service_pb2.RotateApiKeyResponse:
        self.platform.asked.append(request)
        self.platform.admit(context)
        self.key.replaced_by, self.key.rate_limit.requests_per_second, self.key.rate_limit.burst = "key_2", 0.5, 3
        self.key.expires_at.FromJsonString("2030-01-31T12:00:00Z")
        made = api_key_pb2.ApiKey(id="key_2", name=self.key.name, scopes=self.key.scopes, replaces=self.key.id)
        return account_service_pb2.RotateApiKeyResponse(api_key=made, secret="fk_new_secret", replaced=self.key)

    def RevokeApiKey(self, request: Any, context: Any) -> api_key_pb2.ApiKey:
        self.platform.admit(context)
        return self.key


class Audit:
    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.events = [
            audit_pb2.AuditEvent(
                id=f"aud_{number}",
                api_key_id="key_1",
                method="forge.scheduler.v1.RenderService/CancelRender",
                resources=[f"rnd_{number}"],
                outcome="OK" if number else "UNKNOWN",
                took_ms=12 if number else None,
            )
            for number in range(150)
        ]

    def ListAuditEvents(self, request: Any, context: Any) -> audit_service_pb2.ListAuditEventsResponse:
        self.platform.asked.append(request)
        self.platform.admit(context)
        first = int(request.page_token or 0)
        behind = first + request.page_size
        token = str(behind) if behind < len(self.events) else ""
        return audit_service_pb2.ListAuditEventsResponse(events=self.events[first:behind], next_page_token=token)


def start_server(found: Platform, address: str) -> tuple[Any, int]:
    """A server that answers for the platform, and its port."""
    threads = ThreadPoolExecutor(max_workers=8)  # the commands own the event loop
    server: Any = grpc.server(threads, options=[("grpc.max_receive_message_length", 32 * 2**20)])
    render_service_pb2_grpc.add_RenderServiceServicer_to_server(cast("Any", Renders(found)), server)
    catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(cast("Any", Catalog(found)), server)
    runtime_service_pb2_grpc.add_RuntimeServiceServicer_to_server(cast("Any", Runtimes(found)), server)
    billing_estimate_service_pb2_grpc.add_BillingEstimateServiceServicer_to_server(
        cast("Any", Estimates(found)), server
    )
    account_service_pb2_grpc.add_AccountServiceServicer_to_server(cast("Any", Accounts(found)), server)
    audit_service_pb2_grpc.add_AuditServiceServicer_to_server(cast("Any", Audit(found)), server)
    webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server(cast("Any", Webhooks(found)), server)
    upload_service_pb2_grpc.add_UploadServiceServicer_to_server(cast("Any", Uploads(found)), server)
    probe_service_pb2_grpc.add_ProbeServiceServicer_to_server(cast("Any", Probes(found)), server)
    port = server.add_insecure_port(address)
    server.start()
    return server, port
