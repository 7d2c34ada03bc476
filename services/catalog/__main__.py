"""Composition root of the catalogue."""

import asyncio
from contextlib import AsyncExitStack

from services.catalog.adapters.grpc_fleet import GrpcFleet
from services.catalog.adapters.yaml_models import load_models
from services.catalog.config import CatalogSettings
from services.catalog.servicer import mount
from services.catalog.usecases import Catalog
from services.chassis.clients import channel_to
from services.chassis.identity import service_caller
from services.chassis.process import run
from services.chassis.server import serving


async def serve(settings: CatalogSettings, told_to_stop: asyncio.Event) -> None:
    """Serve until told to stop. ConfigurationInvalid when a model's file is wrong."""
    models = load_models(settings.config_dir / "models")
    async with AsyncExitStack() as stack:
        scheduler = await stack.enter_async_context(channel_to(settings.scheduler_address, service_caller("catalog")))
        fleet = GrpcFleet(scheduler, deadline_seconds=settings.capacity_deadline_seconds)
        await stack.enter_async_context(
            serving(
                settings.catalog_address,
                [mount(Catalog(models, fleet))],
                grace_seconds=settings.shutdown_grace_seconds,
            )
        )
        await told_to_stop.wait()


def main() -> None:
    """Run the service."""
    settings = CatalogSettings()
    run("catalog", settings, lambda told_to_stop: serve(settings, told_to_stop))


if __name__ == "__main__":
    main()
