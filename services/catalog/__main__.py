"""Composition root of the catalogue."""

import asyncio
import sys
from contextlib import AsyncExitStack

from services.catalog.adapters.grpc_fleet import GrpcFleet
from services.catalog.adapters.yaml_models import load_models
from services.catalog.config import CatalogSettings
from services.catalog.servicer import mount
from services.catalog.usecases import Catalog
from services.chassis.clients import channel_to
from services.chassis.identity import service_caller
from services.chassis.server import serving, until_told_to_stop
from services.chassis.strict_yaml import ConfigurationInvalid
from services.chassis.telemetry import telemetry


async def serve(settings: CatalogSettings) -> None:
    """Serve until told to stop. ConfigurationInvalid when a model's file is wrong."""
    models = load_models(settings.config_dir / "models")
    async with AsyncExitStack() as stack:
        stack.enter_context(telemetry("catalog", settings.otlp_endpoint))
        scheduler = await stack.enter_async_context(channel_to(settings.scheduler_address, service_caller("catalog")))
        fleet = GrpcFleet(scheduler, deadline_seconds=settings.capacity_deadline_seconds)
        await stack.enter_async_context(
            serving(
                settings.catalog_address,
                [mount(Catalog(models, fleet))],
                grace_seconds=settings.shutdown_grace_seconds,
            )
        )
        await until_told_to_stop()


def main() -> None:
    """Run the service; a wrong configuration ends it with a list of its faults."""
    try:
        asyncio.run(serve(CatalogSettings()))
    except ConfigurationInvalid as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
