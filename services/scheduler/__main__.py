"""Composition root of the scheduler: `python -m services.scheduler`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from forge.scheduler.v1 import (
    render_service_pb2,
    render_service_pb2_grpc,
    runtime_service_pb2,
    runtime_service_pb2_grpc,
)
from obstore.store import from_url

from services.chassis.clients import channel_to
from services.chassis.clock import SystemClock
from services.chassis.identity import service_caller
from services.chassis.process import run
from services.chassis.server import Mount, serving
from services.chassis.storage import sqlite_database
from services.scheduler.adapters.bell import LocalBell
from services.scheduler.adapters.grpc_catalog import GrpcCatalog
from services.scheduler.adapters.grpc_estimates import GrpcEstimates
from services.scheduler.adapters.grpc_workers import GrpcWorkers
from services.scheduler.adapters.json_schema import JsonSchemaChecker
from services.scheduler.adapters.local_placer import LocalPlacer
from services.scheduler.adapters.obstore_videos import ObstoreVideos
from services.scheduler.adapters.sql_store import SqlRenderStore, SqlRuntimeStore
from services.scheduler.adapters.yaml_fleet import read_fleet
from services.scheduler.config import SchedulerSettings
from services.scheduler.domain.fleet import Fleet
from services.scheduler.domain.render import Render
from services.scheduler.ports import (
    Catalog,
    Clock,
    Estimates,
    InputChecker,
    Placer,
    RenderStore,
    RuntimeStore,
    Videos,
    Workers,
)
from services.scheduler.servicer import RenderServicer, RuntimeServicer
from services.scheduler.usecases.attempt import Attempt
from services.scheduler.usecases.dispatcher import Dispatcher
from services.scheduler.usecases.fleet_view import FleetView
from services.scheduler.usecases.intake import Intake
from services.scheduler.usecases.runtimes import Runtimes
from services.scheduler.usecases.scheduler import Scheduler
from services.scheduler.usecases.screening import Screening

MIGRATIONS = Path(__file__).parent / "adapters" / "migrations"


@dataclass(frozen=True)
class Assembly:
    """The scheduler's use cases, wired."""

    scheduler: Scheduler
    view: FleetView
    runtimes: Runtimes
    dispatcher: Dispatcher


@asynccontextmanager
async def assembled(
    *,
    fleet: Fleet,
    store: RenderStore,
    runtime_store: RuntimeStore,
    placer: Placer,
    workers: Workers,
    catalog: Catalog,
    estimates: Estimates,
    videos: Videos,
    checker: InputChecker,
    clock: Clock,
    idle_release_seconds: float,
    queue_ttl: timedelta | None = None,
    on_failure: Callable[[], None] = lambda: None,
) -> AsyncIterator[Assembly]:
    """Wire the use cases, take over what an earlier scheduler left, and place renders until the block ends.

    `on_failure` is called when that work ends by itself: the block must then end too, and raises what happened. On the
    way out attempts are released first, then their workers are ended.
    """
    bell = LocalBell()
    news = asyncio.Event()
    runtimes = Runtimes(
        fleet=fleet,
        placer=placer,
        workers=workers,
        store=runtime_store,
        clock=clock,
        idle_release_seconds=idle_release_seconds,
        on_change=news.set,
    )

    def new_attempt(render: Render) -> Attempt:
        return Attempt(render, store=store, runtimes=runtimes, workers=workers, bell=bell, clock=clock)

    dispatcher = Dispatcher(
        store=store,
        runtimes=runtimes,
        catalog=catalog,
        estimates=estimates,
        bell=bell,
        clock=clock,
        attempts=new_attempt,
        news=news,
    )
    scheduler = Scheduler(
        intake=Intake(catalog, fleet, checker),
        store=store,
        dispatcher=dispatcher,
        bell=bell,
        screening=Screening(store=store, videos=videos, bell=bell),
        clock=clock,
        queue_ttl=queue_ttl,
    )
    await dispatcher.recover()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runtimes.close)
        for work in (dispatcher.run(), runtimes.tend()):
            task = asyncio.create_task(work)
            task.add_done_callback(lambda _: on_failure())
            stack.push_async_callback(_ended, task)
        view = FleetView(runtimes=runtimes, catalog=catalog, estimates=estimates, store=store)
        yield Assembly(scheduler, view, runtimes, dispatcher)


async def serve(settings: SchedulerSettings, told_to_stop: asyncio.Event) -> None:
    """Serve until told to stop. Unwinding the stack is the shutdown plan: calls, attempts, workers, stores."""
    clock = SystemClock()
    caller = service_caller("scheduler")
    fleet = await read_fleet(settings.fleet, settings.config_dir)
    ttl = settings.queue_ttl_seconds
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            sqlite_database(settings.state_dir / "scheduler.sqlite3", MIGRATIONS)
        )
        catalog_channel = await stack.enter_async_context(channel_to(settings.catalog_address, caller))
        billing_channel = await stack.enter_async_context(channel_to(settings.billing_estimate_address, caller))
        assembly = await stack.enter_async_context(
            assembled(
                fleet=fleet,
                store=SqlRenderStore(database, clock),
                runtime_store=SqlRuntimeStore(database),
                placer=await stack.enter_async_context(
                    LocalPlacer(
                        settings.home,
                        environment={"FORGE_HOME": str(settings.home), "FORGE_WEIGHTS": settings.weights},
                        launch_seconds=settings.worker_launch_seconds,
                        stop_seconds=settings.worker_stop_seconds,
                        spares=settings.worker_spares,
                    )
                ),
                workers=await stack.enter_async_context(GrpcWorkers(caller)),
                catalog=GrpcCatalog(catalog_channel, clock),
                estimates=GrpcEstimates(billing_channel, clock),
                videos=ObstoreVideos(from_url(settings.objects_url, mkdir=True)),
                checker=JsonSchemaChecker(),
                clock=clock,
                idle_release_seconds=settings.idle_release_seconds,
                queue_ttl=timedelta(seconds=ttl) if ttl else None,
                on_failure=told_to_stop.set,
            )
        )
        await stack.enter_async_context(
            serving(settings.scheduler_address, mounts(assembly), grace_seconds=settings.shutdown_grace_seconds)
        )
        await told_to_stop.wait()


def mounts(assembly: Assembly) -> list[Mount]:
    """The services of the scheduler."""
    return [
        Mount(
            render_service_pb2.DESCRIPTOR.services_by_name["RenderService"],
            render_service_pb2_grpc.add_RenderServiceServicer_to_server,
            RenderServicer(assembly.scheduler),
        ),
        Mount(
            runtime_service_pb2.DESCRIPTOR.services_by_name["RuntimeService"],
            runtime_service_pb2_grpc.add_RuntimeServiceServicer_to_server,
            RuntimeServicer(assembly.view),
        ),
    ]


async def _ended(task: asyncio.Task[None]) -> None:
    """End a background task. One that ended by itself has failed: its error comes out here."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def main() -> None:
    """Run the service."""
    settings = SchedulerSettings()
    run("scheduler", settings, lambda told_to_stop: serve(settings, told_to_stop))


if __name__ == "__main__":
    main()
