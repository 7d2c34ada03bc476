"""A town with its siblings played, and one without any."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from forge.catalog.v1 import ledger_service_pb2, ledger_service_pb2_grpc
from forge.scheduler.v1 import intake_service_pb2, intake_service_pb2_grpc

from services.chassis.server import Mount, serving
from tests.rpc.billing_estimate.town_bench import PlayedCatalog, PlayedScheduler, Town, town_beside


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    catalog = PlayedCatalog()
    ledger = Mount(
        ledger_service_pb2.DESCRIPTOR.services_by_name["LedgerService"],
        ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server,
        catalog,
    )
    intake = Mount(
        intake_service_pb2.DESCRIPTOR.services_by_name["IntakeService"],
        intake_service_pb2_grpc.add_IntakeServiceServicer_to_server,
        PlayedScheduler(),
    )
    async with (
        serving("127.0.0.1:0", [ledger], grace_seconds=0) as catalog_port,
        serving("127.0.0.1:0", [intake], grace_seconds=0) as scheduler_port,
        town_beside(
            tmp_path,
            catalog,
            catalog_address=f"127.0.0.1:{catalog_port}",
            scheduler_address=f"127.0.0.1:{scheduler_port}",
        ) as town,
    ):
        yield town


@pytest.fixture
async def lonely_town(tmp_path: Path) -> AsyncIterator[Town]:
    """A town whose catalogue and scheduler are not there."""
    nobody = "127.0.0.1:9"
    async with town_beside(
        tmp_path, PlayedCatalog(), catalog_address=nobody, scheduler_address=nobody, patience=0.5
    ) as town:
        yield town
