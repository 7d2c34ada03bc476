"""Composition root of the span store."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

from opentelemetry import metrics

from services.chassis.clock import SystemClock
from services.chassis.process import run, settings_of
from services.chassis.server import serving
from services.chassis.storage import database_of
from services.chassis.trust import Trust
from services.traces.adapters.otel_meters import OtelMeters
from services.traces.adapters.otlp_collector import collector_at
from services.traces.adapters.sql_span_store import SqlSpanStore
from services.traces.config import TracesSettings
from services.traces.domain import Retention
from services.traces.servicer import PassOn, mounts
from services.traces.usecases import SpanBook

MIGRATIONS = Path(__file__).parent / "adapters" / "migrations"


async def serve(settings: TracesSettings, told_to_stop: asyncio.Event) -> None:
    """Serve until told to stop."""
    meters = OtelMeters(metrics.get_meter("forge.traces"))
    retention = Retention(
        renders=timedelta(days=settings.traces_days),
        others=timedelta(hours=settings.traces_other_hours),
        max_bytes=round(settings.traces_max_mib * 1024 * 1024),
    )
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(database_of(settings, settings.database_path, MIGRATIONS))
        book = SpanBook(SqlSpanStore(database), retention=retention, meters=meters, clock=SystemClock())
        await stack.enter_async_context(book.kept_written(on_failure=told_to_stop.set))
        pass_on: PassOn = lambda _request: None  # noqa: E731 — nobody elsewhere wants to know
        if settings.otlp_endpoint:
            collector = await stack.enter_async_context(
                collector_at(
                    settings.otlp_endpoint,
                    headers=settings.otlp_headers.get_secret_value(),
                    certificate=settings.otlp_certificate,
                    meters=meters,
                    on_failure=told_to_stop.set,
                )
            )
            pass_on = collector.pass_on
        await stack.enter_async_context(
            serving(
                settings.traces_address,
                mounts(book, pass_on),
                grace_seconds=settings.shutdown_grace_seconds,
                trust=Trust.of("traces", settings),
            )
        )
        await told_to_stop.wait()


def main() -> None:
    """Run the service."""
    settings = settings_of(TracesSettings)
    run("traces", settings, lambda told_to_stop: serve(settings, told_to_stop))


if __name__ == "__main__":
    main()
