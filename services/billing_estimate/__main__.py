"""Composition root of the estimates."""

import asyncio
import sys
from contextlib import AsyncExitStack

from services.billing_estimate.adapters.grpc_model_catalog import GrpcModelCatalog
from services.billing_estimate.adapters.yaml_price_book import YamlPriceBook
from services.billing_estimate.config import BillingEstimateSettings
from services.billing_estimate.servicer import mount
from services.billing_estimate.usecases import Estimator
from services.chassis.clients import channel_to
from services.chassis.identity import service_caller
from services.chassis.server import serving, until_told_to_stop
from services.chassis.strict_yaml import ConfigurationInvalid
from services.chassis.telemetry import telemetry


async def serve(settings: BillingEstimateSettings) -> None:
    """Serve until told to stop. ConfigurationInvalid when the price book is wrong."""
    price_book = YamlPriceBook(settings.config_dir / "prices.yaml")
    async with AsyncExitStack() as stack:
        stack.enter_context(telemetry("billing-estimate", settings.otlp_endpoint))
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
        await until_told_to_stop()


def main() -> None:
    """Run the service; a wrong configuration ends it with a list of its faults."""
    try:
        asyncio.run(serve(BillingEstimateSettings()))
    except ConfigurationInvalid as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
