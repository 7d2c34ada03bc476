"""Estimates on a real port, beside a real catalogue on another."""

from __future__ import annotations  # grpc classes are generic in their stubs only

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from forge.billing.v1 import billing_estimate_service_pb2_grpc as rpc

from services.billing_estimate.adapters.grpc_model_catalog import GrpcModelCatalog
from services.billing_estimate.adapters.yaml_price_book import YamlPriceBook
from services.billing_estimate.servicer import mount as mount_estimates
from services.billing_estimate.usecases import Estimator
from services.catalog.adapters.yaml_models import load_models
from services.catalog.domain import RouteTarget
from services.catalog.servicer import mount as mount_catalog
from services.catalog.usecases import Catalog
from services.chassis.clients import channel_to
from services.chassis.config import REPOSITORY
from services.chassis.identity import Caller, service_caller
from services.chassis.server import serving

CONFIG = REPOSITORY / "config"


class NoFleet:
    """Estimates never ask for the fleet."""

    async def targets(self) -> tuple[RouteTarget, ...]:
        return ()


@asynccontextmanager
async def estimates_beside(catalog_address: str) -> AsyncIterator[rpc.BillingEstimateServiceStub]:
    async with channel_to(catalog_address, service_caller("billing-estimate")) as catalog:
        estimator = Estimator(GrpcModelCatalog(catalog, deadline_seconds=0.5), YamlPriceBook(CONFIG / "prices.yaml"))
        reader = Caller("acme", "key_1", frozenset({"read"}))
        async with (
            serving("127.0.0.1:0", [mount_estimates(estimator)], grace_seconds=0) as port,
            channel_to(f"127.0.0.1:{port}", reader) as channel,
        ):
            yield rpc.BillingEstimateServiceStub(channel)


@pytest.fixture
async def estimates() -> AsyncIterator[rpc.BillingEstimateServiceStub]:
    catalog = Catalog(load_models(CONFIG / "models"), NoFleet())
    async with (
        serving("127.0.0.1:0", [mount_catalog(catalog)], grace_seconds=0) as port,
        estimates_beside(f"127.0.0.1:{port}") as stub,
    ):
        yield stub


@pytest.fixture
async def estimates_alone() -> AsyncIterator[rpc.BillingEstimateServiceStub]:
    """Estimates whose catalogue is not there."""
    async with estimates_beside("127.0.0.1:9") as stub:
        yield stub
