"""Composition root of the estimates and receipts."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from opentelemetry import metrics

from services.billing_estimate import metering_servicer, servicer
from services.billing_estimate.adapters.grpc_cost_bases import GrpcCostBases
from services.billing_estimate.adapters.grpc_input_checks import GrpcInputChecks
from services.billing_estimate.adapters.otel_meters import OtelMeters
from services.billing_estimate.adapters.sql_receipts import SqlReceiptStore
from services.billing_estimate.adapters.yaml_price_book import YamlPriceBook
from services.billing_estimate.config import BillingEstimateSettings
from services.billing_estimate.usecases.estimator import Estimator
from services.billing_estimate.usecases.receipts import Receipts
from services.chassis.clients import channel_to
from services.chassis.clock import SystemClock
from services.chassis.identity import service_caller
from services.chassis.process import run, settings_of
from services.chassis.server import serving
from services.chassis.storage import database_of
from services.chassis.trust import Trust

MIGRATIONS = Path(__file__).parent / "adapters" / "migrations"


async def serve(settings: BillingEstimateSettings, told_to_stop: asyncio.Event) -> None:
    """Serve until told to stop. ConfigurationInvalid when the price book is wrong."""
    price_book = YamlPriceBook(settings.config_dir / "prices.yaml")
    caller, trust = service_caller("billing-estimate"), Trust.of("billing-estimate", settings)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        store = SqlReceiptStore(
            await stack.enter_async_context(database_of(settings, settings.database_path, MIGRATIONS))
        )
        catalog = await stack.enter_async_context(
            channel_to(settings.catalog_address, caller, trust=trust, peer="catalog")
        )
        scheduler = await stack.enter_async_context(
            channel_to(settings.scheduler_address, caller, trust=trust, peer="scheduler")
        )
        estimator = Estimator(
            bases=GrpcCostBases(catalog, deadline_seconds=settings.catalog_deadline_seconds),
            checks=GrpcInputChecks(scheduler, deadline_seconds=settings.scheduler_deadline_seconds),
            price_book=price_book,
            store=store,
            clock=clock,
            idle_release_seconds=settings.idle_release_seconds,
        )
        meters = OtelMeters(metrics.get_meter("forge.billing_estimate"))
        receipts = Receipts(store=store, price_book=price_book, meters=meters, clock=clock)
        await receipts.meter()
        await stack.enter_async_context(
            serving(
                settings.billing_estimate_address,
                [servicer.mount(estimator, receipts), metering_servicer.mount(estimator, receipts)],
                grace_seconds=settings.shutdown_grace_seconds,
                trust=trust,
            )
        )
        await told_to_stop.wait()


def main() -> None:
    """Run the service."""
    settings = settings_of(BillingEstimateSettings)
    run("billing-estimate", settings, lambda told_to_stop: serve(settings, told_to_stop))


if __name__ == "__main__":
    main()
