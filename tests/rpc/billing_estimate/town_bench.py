"""Estimates and receipts on a real port, between a catalogue and a scheduler that are played on ports of their own."""

from __future__ import annotations  # grpc classes are generic in their stubs only

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge.billing.v1 import billing_estimate_service_pb2_grpc, metering_service_pb2_grpc
from forge.catalog.v1 import ledger_service_pb2, ledger_service_pb2_grpc, model_pb2
from forge.scheduler.v1 import intake_service_pb2, intake_service_pb2_grpc
from opentelemetry.metrics import NoOpMeter

from services.billing_estimate import metering_servicer, servicer
from services.billing_estimate.__main__ import MIGRATIONS
from services.billing_estimate.adapters.grpc_cost_bases import GrpcCostBases
from services.billing_estimate.adapters.grpc_input_checks import GrpcInputChecks
from services.billing_estimate.adapters.otel_meters import OtelMeters
from services.billing_estimate.adapters.sql_receipts import SqlReceiptStore
from services.billing_estimate.adapters.yaml_price_book import YamlPriceBook
from services.billing_estimate.usecases.estimator import Estimator
from services.billing_estimate.usecases.receipts import Receipts
from services.chassis.clients import channel_to
from services.chassis.clock import SystemClock
from services.chassis.config import REPOSITORY
from services.chassis.errors import ForgeError, InvalidInput, Kind, Violation
from services.chassis.identity import Caller, service_caller
from services.chassis.server import serving
from services.chassis.storage import sqlite_database

SVD = "stabilityai-stable-video-diffusion"
SKYREELS = "skywork-skyreels-v2"
WAN = "wan-ai-wan-2-1"

# target: $ an hour, warm seconds, cold start seconds, of SVD and of SkyReels, as published
PUBLISHED = {
    ("B200", "us-central1"): (7.15, (22.0, 7.0), (121, 31.6)),
    ("B300", "uk-south1"): (7.85, (27.6, 5.1), (346, 49.4)),
    ("H200", "eu-north2"): (4.50, (25.3, 5.5), (211, 40.6)),
    ("L40S", "eu-north1"): (1.82, (62.0, 15.3), (661, 49.2)),
    ("RTX6000", "us-central1"): (1.80, (32.3, 6.3), (491, 22.7)),
}
OUTPUT_SECONDS = {SVD: 25 / 7, SKYREELS: 97 / 24, WAN: 5.0}


class PlayedCatalog(ledger_service_pb2_grpc.LedgerServiceServicer):
    """A catalogue whose work is the number of steps, with what was published, and samples where a test adds some."""

    def __init__(self) -> None:
        self.samples: dict[tuple[str, str], list[ledger_service_pb2.CostSample]] = {}
        self.offered: set[tuple[str, str]] = set()

    async def RecordMeasurements(self, request: Any, context: Any) -> Any:  # noqa: N802 — as in the contract
        raise AssertionError("estimates measure nothing")

    async def GetCostBasis(self, request: Any, context: Any) -> ledger_service_pb2.CostBasis:  # noqa: N802 — as in the contract
        if request.slug not in OUTPUT_SECONDS:
            raise ForgeError("no such model", kind=Kind.NOT_FOUND, reason="MODEL_NOT_FOUND")
        if request.model_version not in ("", "v1"):
            name = f"{request.slug}/{request.model_version}"
            raise ForgeError(
                "no such version",
                kind=Kind.NOT_FOUND,
                reason="VERSION_NOT_FOUND",
                metadata={"known": "v1"},
                resource=("model version", name),
            )
        steps = request.input["num_inference_steps"] / 10 if request.HasField("input") else 1.0
        column = 1 if request.slug == SVD else 2
        published: dict[tuple[str, str], Any] = {} if request.slug == WAN else PUBLISHED
        targets = [*published, ("CPU", "local"), ("H100", "eu-north1")]
        return ledger_service_pb2.CostBasis(
            slug=request.slug,
            model_version="v1",
            vram_floor_gib=24,
            work=[ledger_service_pb2.WorkPart(phase="denoising", amount=steps, share=1.0)],
            memory=1.0,
            output_seconds=OUTPUT_SECONDS[request.slug],
            targets=[
                ledger_service_pb2.TargetHistory(
                    gpu_type=target[0],
                    region=target[1],
                    offered=target in self.offered,
                    samples=self.samples.get(target, ()),
                    published=[_figure(*published[target][column])] if target in published else [],
                )
                for target in targets
            ],
        )


def _figure(warm_seconds: float, cold_seconds: float) -> model_pb2.PublishedFigure:
    return model_pb2.PublishedFigure(
        model_ms=round(warm_seconds * 1000), cold_start_ms=round(cold_seconds * 1000), sample_count=1
    )


class PlayedScheduler(intake_service_pb2_grpc.IntakeServiceServicer):
    """A scheduler that accepts any number of steps above 0, and fills in 10 of them."""

    async def CheckInput(self, request: Any, context: Any) -> intake_service_pb2.CheckedInput:  # noqa: N802 — as in the contract
        said = dict(request.input.items())
        steps = said.get("num_inference_steps", 10.0)
        if not steps > 0:
            raise InvalidInput([Violation("num_inference_steps", "must be at least 1")])
        checked = intake_service_pb2.CheckedInput(
            slug=request.slug,
            model_version="v1",
            gpu_type=str(said.get("gpu_type", "")),
            prefer=str(said.get("prefer", "cheapest")),
            max_cost_usd=said.get("max_cost_usd"),
            finish_within_seconds=said.get("finish_within_seconds"),
            warnings=["prompt has no effect"] if "prompt" in said else [],
        )
        checked.input.update({"num_inference_steps": steps})
        return checked


@dataclass
class Town:
    """The service as its callers see it, and who plays its siblings."""

    estimates: Any
    """As a client of the account "acme" sees it."""
    others: Any
    """As another account's client does."""
    metering: Any
    """As the scheduler sees it."""
    metering_of_a_client: Any
    catalog: PlayedCatalog = field(default_factory=PlayedCatalog)


@asynccontextmanager
async def town_beside(
    folder: Path, catalog: PlayedCatalog, *, catalog_address: str, scheduler_address: str, patience: float = 5.0
) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        itself = service_caller("billing-estimate")
        catalog_channel = await stack.enter_async_context(channel_to(catalog_address, itself))
        scheduler_channel = await stack.enter_async_context(channel_to(scheduler_address, itself))
        database = await stack.enter_async_context(sqlite_database(folder / "billing.sqlite3", MIGRATIONS))
        store, clock = SqlReceiptStore(database), SystemClock()
        price_book = YamlPriceBook(REPOSITORY / "config" / "prices.yaml")
        estimator = Estimator(
            bases=GrpcCostBases(catalog_channel, deadline_seconds=patience),
            checks=GrpcInputChecks(scheduler_channel, deadline_seconds=patience),
            price_book=price_book,
            store=store,
            clock=clock,
            idle_release_seconds=900.0,
        )
        meters = OtelMeters(NoOpMeter("test"))
        receipts = Receipts(store=store, price_book=price_book, meters=meters, clock=clock)
        mounts = [servicer.mount(estimator, receipts), metering_servicer.mount(estimator, receipts)]
        port = await stack.enter_async_context(serving("127.0.0.1:0", mounts, grace_seconds=0))

        async def as_seen_by(caller: Caller) -> Any:
            return await stack.enter_async_context(channel_to(f"127.0.0.1:{port}", caller))

        reader = await as_seen_by(Caller("acme", "key_1", frozenset({"read"})))
        other = await as_seen_by(Caller("other", "key_2", frozenset({"read"})))
        scheduler = await as_seen_by(service_caller("scheduler"))
        yield Town(
            estimates=billing_estimate_service_pb2_grpc.BillingEstimateServiceStub(reader),
            others=billing_estimate_service_pb2_grpc.BillingEstimateServiceStub(other),
            metering=metering_service_pb2_grpc.MeteringServiceStub(scheduler),
            metering_of_a_client=metering_service_pb2_grpc.MeteringServiceStub(reader),
            catalog=catalog,
        )
