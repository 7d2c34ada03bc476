"""A catalogue on a real port, beside a scheduler that only knows its capacity."""

from __future__ import annotations  # grpc classes are generic in their stubs only

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from forge.catalog.v1 import catalog_service_pb2_grpc
from forge.scheduler.v1 import runtime_pb2, runtime_service_pb2, runtime_service_pb2_grpc

from services.catalog.adapters.grpc_fleet import GrpcFleet
from services.catalog.adapters.jinja_snippets import JinjaSnippets
from services.catalog.adapters.yaml_models import load_models
from services.catalog.servicer import mount
from services.catalog.usecases import Catalog
from services.catalog.usecases.snippets import SnippetBook
from services.chassis.clients import channel_to
from services.chassis.config import REPOSITORY
from services.chassis.identity import Caller, service_caller
from services.chassis.server import Mount, serving

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


@dataclass(frozen=True)
class Served:
    """A catalogue that is being served, and a stub of a caller who may read."""

    port: int
    stub: catalog_service_pb2_grpc.CatalogServiceStub


async def serve_beside(scheduler_address: str) -> AsyncIterator[Served]:
    models = load_models(REPOSITORY / "config" / "models")
    async with channel_to(scheduler_address, service_caller("catalog")) as scheduler:
        catalog = Catalog(models, GrpcFleet(scheduler, deadline_seconds=0.5))
        async with (
            serving("127.0.0.1:0", [mount(catalog, SnippetBook(catalog, JinjaSnippets()))], grace_seconds=0) as port,
            channel_to(f"127.0.0.1:{port}", READER) as channel,
        ):
            yield Served(port, catalog_service_pb2_grpc.CatalogServiceStub(channel))


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    capacity = Mount(
        runtime_service_pb2.DESCRIPTOR.services_by_name["RuntimeService"],
        runtime_service_pb2_grpc.add_RuntimeServiceServicer_to_server,
        CapacityServicer(),  # pyright: ignore[reportAbstractUsage] — what it does not implement nobody calls here
    )
    async with serving("127.0.0.1:0", [capacity], grace_seconds=0) as port:
        async for each in serve_beside(f"127.0.0.1:{port}"):
            yield each


@pytest.fixture
async def served_alone() -> AsyncIterator[Served]:
    """A catalogue whose scheduler is not there."""
    async for each in serve_beside("127.0.0.1:9"):
        yield each
