"""Composition root of the estimates."""

import asyncio
from contextlib import AsyncExitStack

from services.billing_estimate.adapters.grpc_model_catalog import GrpcModelCatalog
from services.billing_estimate.adapters.yaml_price_book import YamlPriceBook
from services.billing_estimate.config import BillingEstimateSettings
from services.billing_estimate.servicer import mount
from services.billing_estimate.usecases import Estimator
from services.chassis.clients import channel_to
from services.chassis.identity import service_caller
from services.chassis.process import run
from services.chassis.server import serving


async def serve(settings: BillingEstimateSettings, told_to_stop: asyncio.Event) -> None:
    """Serve until told to stop. ConfigurationInvalid when the price book is wrong."""
    price_book = YamlPriceBook(settings.config_dir / "prices.yaml")
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(
            channel_to(settings.catalog_address, service_caller("billing-estimate"))
        )
        catalog = GrpcModelCatalog(channel, deadline_seconds=settings.catalog_deadline_seconds)
        await stack.enter_async_context(
            serving(
                settings.billing_estimate_address,
                [mount(Estimator(catalog, price_book))],
                grace_seconds=settings.shutdown_grace_seconds,
            )
        )
        await told_to_stop.wait()


def main() -> None:
    """Run the service."""
    settings = BillingEstimateSettings()
    run("billing-estimate", settings, lambda told_to_stop: serve(settings, told_to_stop))


if __name__ == "__main__":
    main()
