"""A catalogue on a real port, beside a scheduler that only knows its capacity and a price book of one price."""

from __future__ import annotations  # grpc classes are generic in their stubs only

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from forge.billing.v1 import billing_estimate_service_pb2, billing_estimate_service_pb2_grpc, estimate_pb2
from forge.catalog.v1 import catalog_service_pb2_grpc, ledger_service_pb2_grpc
from forge.scheduler.v1 import runtime_pb2, runtime_service_pb2, runtime_service_pb2_grpc

from services.catalog.__main__ import MIGRATIONS
from services.catalog.adapters.grpc_fleet import GrpcFleet
from services.catalog.adapters.grpc_prices import GrpcPrices
from services.catalog.adapters.jinja_snippets import JinjaSnippets
from services.catalog.adapters.sql_ledger import SqlLedger
from services.catalog.adapters.yaml_models import load_models
from services.catalog.domain.reliability import Demands
from services.catalog.ledger_servicer import mount_ledger
from services.catalog.servicer import mount
from services.catalog.usecases import Catalog
from services.catalog.usecases.ledger import LedgerBook
from services.catalog.usecases.performance import Performance
from services.catalog.usecases.snippets import SnippetBook
from services.chassis.clients import channel_to
from services.chassis.clock import SystemClock
from services.chassis.config import REPOSITORY
from services.chassis.identity import Caller, service_caller
from services.chassis.server import Mount, serving
from services.chassis.storage import sqlite_database

READER = Caller("acme", "key_1", frozenset({"read"}))


class CapacityServicer(runtime_service_pb2_grpc.RuntimeServiceServicer):
    """Says what a fleet has, and nothing else."""

    async def GetCapacity(self, request, context):  # noqa: N802 — the contract's spelling
        targets = [
            ("B200", "us-central1", True, 2, 1),
            ("H100", "eu-north1", True, 1, 1),
            ("L40S", "eu-north1", False, 1, 0),
        ]
        return runtime_service_pb2.GetCapacityResponse(
            targets=[
                runtime_pb2.TargetCapacity(
                    gpu_type=gpu_type, region=region, simulated=simulated, total_slots=total, free_slots=free
                )
                for gpu_type, region, simulated, total, free in targets
            ]
        )


class PriceServicer(billing_estimate_service_pb2_grpc.BillingEstimateServiceServicer):
    """Knows the price of an L40S, and nothing else."""

    async def ListPrices(self, request, context):  # noqa: N802 — the contract's spelling
        price = estimate_pb2.Price(gpu_type="L40S", region="eu-north1", cost_per_gpu_hour_usd=1.8, source="test")
        return billing_estimate_service_pb2.ListPricesResponse(prices=[price])


@dataclass(frozen=True)
class Served:
    """A catalogue that is being served, a stub of a caller who may read, and one of a service."""

    port: int
    stub: catalog_service_pb2_grpc.CatalogServiceStub
    ledger: ledger_service_pb2_grpc.LedgerServiceStub


async def serve_beside(address: str, folder: Path, *, patience: float = 5.0) -> AsyncIterator[Served]:
    """A catalogue whose scheduler and price book are both at `address`. Its calls to them have `patience` seconds."""
    models, clock = load_models(REPOSITORY / "config" / "models"), SystemClock()
    async with (
        channel_to(address, service_caller("catalog")) as others,
        sqlite_database(folder / "catalog.sqlite3", MIGRATIONS) as database,
    ):
        fleet, prices = (
            GrpcFleet(others, deadline_seconds=patience),
            GrpcPrices(others, clock, deadline_seconds=patience),
        )
        catalog, ledger = Catalog(models, fleet), SqlLedger(database)
        performance = Performance(catalog, fleet, ledger, prices, clock, Demands())
        mounts = [
            mount(catalog, SnippetBook(catalog, JinjaSnippets()), performance),
            mount_ledger(LedgerBook(catalog, fleet, ledger)),
        ]
        async with (
            serving("127.0.0.1:0", mounts, grace_seconds=0) as port,
            channel_to(f"127.0.0.1:{port}", READER) as reading,
            channel_to(f"127.0.0.1:{port}", service_caller("scheduler")) as recording,
        ):
            yield Served(
                port,
                catalog_service_pb2_grpc.CatalogServiceStub(reading),
                ledger_service_pb2_grpc.LedgerServiceStub(recording),
            )


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    capacity = Mount(
        runtime_service_pb2.DESCRIPTOR.services_by_name["RuntimeService"],
        runtime_service_pb2_grpc.add_RuntimeServiceServicer_to_server,
        CapacityServicer(),  # pyright: ignore[reportAbstractUsage] — what it does not implement nobody calls here
    )
    prices = Mount(
        billing_estimate_service_pb2.DESCRIPTOR.services_by_name["BillingEstimateService"],
        billing_estimate_service_pb2_grpc.add_BillingEstimateServiceServicer_to_server,
        PriceServicer(),  # pyright: ignore[reportAbstractUsage] — as above
    )
    async with serving("127.0.0.1:0", [capacity, prices], grace_seconds=0) as port:
        async for each in serve_beside(f"127.0.0.1:{port}", tmp_path):
            yield each


@pytest.fixture
async def served_alone(tmp_path: Path) -> AsyncIterator[Served]:
    """A catalogue whose scheduler and price book are not there."""
    async for each in serve_beside("127.0.0.1:9", tmp_path, patience=0.5):
        yield each
