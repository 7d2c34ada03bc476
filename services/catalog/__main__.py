"""Starts the catalogue, or checks the files of models."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

from services.catalog.adapters.grpc_fleet import GrpcFleet
from services.catalog.adapters.grpc_prices import GrpcPrices
from services.catalog.adapters.jinja_snippets import JinjaSnippets
from services.catalog.adapters.sql_ledger import SqlLedger
from services.catalog.adapters.yaml_models import faults_of, load_models
from services.catalog.config import CatalogSettings
from services.catalog.domain.models import Model
from services.catalog.domain.reliability import Demands
from services.catalog.ledger_servicer import mount_ledger
from services.catalog.servicer import mount
from services.catalog.usecases import Catalog
from services.catalog.usecases.ledger import LedgerBook
from services.catalog.usecases.performance import Performance
from services.catalog.usecases.snippets import SnippetBook
from services.chassis.clients import channel_to
from services.chassis.clock import SystemClock
from services.chassis.identity import service_caller
from services.chassis.process import run, settings_of
from services.chassis.server import serving
from services.chassis.storage import database_of
from services.chassis.strict_yaml import ConfigurationInvalid
from services.chassis.trust import Trust

MIGRATIONS = Path(__file__).parent / "adapters" / "migrations"
USAGE = "usage: python -m services.catalog [check FILE...]"


def chosen(models: Sequence[Model], slugs: Sequence[str]) -> list[Model]:
    """The models with these slugs, all where none is named. Raises ConfigurationInvalid."""
    known = {model.slug: model for model in models}
    if unknown := [slug for slug in slugs if slug not in known]:
        raise ConfigurationInvalid(
            [f"FORGE_MODELS: there is no model {', '.join(unknown)}; there are {', '.join(sorted(known))}"]
        )
    return [known[slug] for slug in slugs] or list(models)


async def serve(settings: CatalogSettings, told_to_stop: asyncio.Event) -> None:
    """Serve until told to stop. ConfigurationInvalid when a model's file is wrong."""
    models = chosen(load_models(settings.config_dir / "models"), settings.chosen_models)
    caller, trust = service_caller("catalog"), Trust.of("catalog", settings)
    async with AsyncExitStack() as stack:
        scheduler = await stack.enter_async_context(
            channel_to(settings.scheduler_address, caller, trust=trust, peer="scheduler")
        )
        billing = await stack.enter_async_context(
            channel_to(settings.billing_estimate_address, caller, trust=trust, peer="billing-estimate")
        )
        database = await stack.enter_async_context(database_of(settings, settings.database_path, MIGRATIONS))
        clock, ledger = SystemClock(), SqlLedger(database)
        fleet = GrpcFleet(scheduler, deadline_seconds=settings.capacity_deadline_seconds)
        prices = GrpcPrices(billing, clock, deadline_seconds=settings.prices_deadline_seconds)
        catalog = Catalog(models, fleet)
        demands = Demands(fresh=timedelta(days=settings.fresh_days))
        performance = Performance(catalog, fleet, ledger, prices, clock, demands)
        await stack.enter_async_context(
            serving(
                settings.catalog_address,
                [
                    mount(catalog, SnippetBook(catalog, JinjaSnippets()), performance),
                    mount_ledger(LedgerBook(catalog, fleet, ledger)),
                ],
                grace_seconds=settings.shutdown_grace_seconds,
                trust=trust,
            )
        )
        await told_to_stop.wait()


def check(paths: list[str]) -> bool:
    """Say of each file of a model what the catalogue would say of it at start; whether all are right."""
    faults = {path: faults_of(Path(path)) for path in paths}
    for path, found in faults.items():
        print("\n".join(found) or f"{path}: ok")
    return not any(faults.values())


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    match arguments:
        case []:
            settings = settings_of(CatalogSettings)
            run("catalog", settings, lambda told_to_stop: serve(settings, told_to_stop))
        case ["check", _, *_]:
            sys.exit(0 if check(arguments[1:]) else 1)
        case _:
            sys.exit(USAGE)


if __name__ == "__main__":
    main(sys.argv[1:])
