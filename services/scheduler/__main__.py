"""Composition root of the scheduler: `python -m services.scheduler`."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from forge.scheduler.v1 import (
    intake_service_pb2,
    intake_service_pb2_grpc,
    probe_service_pb2,
    probe_service_pb2_grpc,
    render_service_pb2,
    render_service_pb2_grpc,
    runtime_service_pb2,
    runtime_service_pb2_grpc,
    webhook_service_pb2,
    webhook_service_pb2_grpc,
)
from obstore.store import from_url

from services.chassis.clients import channel_to
from services.chassis.clock import SystemClock
from services.chassis.identity import service_caller
from services.chassis.ids import new_id
from services.chassis.process import run
from services.chassis.server import Mount, serving
from services.chassis.storage import Database, sqlite_database
from services.scheduler.adapters.bell import LocalBell
from services.scheduler.adapters.grpc_bookkeepers import GrpcLedger, GrpcMetering
from services.scheduler.adapters.grpc_catalog import GrpcCatalog
from services.scheduler.adapters.grpc_estimates import GrpcEstimates
from services.scheduler.adapters.grpc_target_rows import GrpcTargetRows
from services.scheduler.adapters.grpc_workers import GrpcWorkers
from services.scheduler.adapters.http_courier import HttpCourier
from services.scheduler.adapters.json_schema import JsonSchemaChecker
from services.scheduler.adapters.local_placer import LocalPlacer
from services.scheduler.adapters.obstore_checkpoints import ObstoreCheckpoints
from services.scheduler.adapters.obstore_videos import ObstoreVideos
from services.scheduler.adapters.sql_probes import SqlProbeStore
from services.scheduler.adapters.sql_reports import SqlReportStore
from services.scheduler.adapters.sql_runtimes import SqlRuntimeStore
from services.scheduler.adapters.sql_store import SqlRenderStore
from services.scheduler.adapters.sql_webhooks import SqlWebhookStore
from services.scheduler.adapters.yaml_fleet import read_fleet
from services.scheduler.config import SchedulerSettings
from services.scheduler.domain.circuit import Circuits
from services.scheduler.domain.durations import Durations
from services.scheduler.domain.fleet import Fleet
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import Render
from services.scheduler.domain.shares import Day, Shares
from services.scheduler.ports import (
    Catalog,
    Checkpoints,
    Clock,
    Estimates,
    InputChecker,
    Placer,
    RenderStore,
    RuntimeStore,
    Videos,
    Workers,
)
from services.scheduler.probe_ports import ProbeStore, TargetRows
from services.scheduler.probe_servicer import ProbeServicer
from services.scheduler.report_ports import Bookkeeper
from services.scheduler.servicer import IntakeServicer, RenderServicer, RuntimeServicer
from services.scheduler.usecases.admission import Admission
from services.scheduler.usecases.attempt import Attempt
from services.scheduler.usecases.dispatcher import Dispatcher
from services.scheduler.usecases.fleet_view import FleetView
from services.scheduler.usecases.intake import Intake
from services.scheduler.usecases.keeping import Keeping
from services.scheduler.usecases.ordering import Ordering
from services.scheduler.usecases.outlook import Outlook
from services.scheduler.usecases.probe_outlook import ProbeOutlook
from services.scheduler.usecases.prober import Prober
from services.scheduler.usecases.probes import Probes
from services.scheduler.usecases.probing_round import ProbingRound
from services.scheduler.usecases.queue import Queue
from services.scheduler.usecases.reaper import Reaper
from services.scheduler.usecases.renders import Renders
from services.scheduler.usecases.reporting import Reporting
from services.scheduler.usecases.runtimes import Runtimes
from services.scheduler.usecases.scheduler import Scheduler
from services.scheduler.usecases.screening import Screening
from services.scheduler.usecases.watching import Watching
from services.scheduler.usecases.webhooks import Postman, Webhooks
from services.scheduler.webhook_servicer import WebhookServicer

MIGRATIONS = Path(__file__).parent / "adapters" / "migrations"


@dataclass(frozen=True)
class Assembly:
    """The scheduler's use cases, wired."""

    scheduler: Scheduler
    intake: Intake
    view: FleetView
    runtimes: Runtimes
    dispatcher: Dispatcher
    probes: Probes | None
    """None for one that was assembled without a store for them."""


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
    checkpoints: Checkpoints,
    checker: InputChecker,
    clock: Clock,
    policy: Policy,
    probe_store: ProbeStore | None = None,
    target_rows: TargetRows | None = None,
    probe_round_seconds: float | None = None,
    new_id: Callable[[str], str] = new_id,
    on_failure: Callable[[], None] = lambda: None,
) -> AsyncIterator[Assembly]:
    """Wire the use cases, take over what an earlier scheduler left, and place renders until the block ends.

    `on_failure` is called when that work ends by itself: the block must then end too, and raises what happened. On the
    way out nothing new is placed, attempts get the time they have, and then workers are ended and renders released.
    """
    bell, queue, news = LocalBell(), Queue(), asyncio.Event()
    durations, circuits, shares, day = Durations(), Circuits(), Shares(), Day()
    renders = Renders(store=store, queue=queue, bell=bell, on_queued=news.set)
    runtimes = Runtimes(
        fleet=fleet,
        placer=placer,
        workers=workers,
        store=runtime_store,
        clock=clock,
        policy=policy,
        durations=durations,
        on_change=news.set,
        new_id=new_id,
    )
    outlook = Outlook(
        queue=queue,
        runtimes=runtimes,
        durations=durations,
        circuits=circuits,
        shares=shares,
        catalog=catalog,
        estimates=estimates,
        clock=clock,
        remaining=lambda render_id: dispatcher.remaining_seconds(render_id),
        at_their_limit=lambda: dispatcher.accounts_at_their_limit(),
    )

    def new_attempt(render: Render, max_run_seconds: float) -> Attempt:
        return Attempt(
            render,
            renders=renders,
            store=store,
            checkpoints=checkpoints,
            runtimes=runtimes,
            workers=workers,
            clock=clock,
            policy=policy,
            max_run_seconds=max_run_seconds,
        )

    dispatcher = Dispatcher(
        store=store,
        renders=renders,
        queue=queue,
        runtimes=runtimes,
        outlook=outlook,
        catalog=catalog,
        shares=shares,
        day=day,
        durations=durations,
        circuits=circuits,
        clock=clock,
        policy=policy,
        attempts=new_attempt,
        news=news,
    )
    reaper = Reaper(store=store, renders=renders, queue=queue, dispatcher=dispatcher, clock=clock)
    intake = Intake(catalog, fleet, checker, clock)
    ordering = Ordering(
        intake=intake,
        admission=Admission(queue=queue, outlook=outlook, day=day, catalog=catalog, clock=clock, policy=policy),
        store=store,
        renders=renders,
        clock=clock,
        policy=policy,
        new_id=new_id,
    )
    watching = Watching(store=store, bell=bell, clock=clock, stands=outlook.stands)
    scheduler = Scheduler(
        ordering=ordering,
        store=store,
        renders=renders,
        dispatcher=dispatcher,
        outlook=outlook,
        watching=watching,
        screening=Screening(store=store, videos=videos, bell=bell),
        clock=clock,
    )
    await dispatcher.recover()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(dispatcher.drain)
        keeping = Keeping(runtimes=runtimes, catalog=catalog, outlook=outlook, clock=clock)
        works = [dispatcher.run(), reaper.run(), runtimes.tend(), keeping.run()]
        probes: Probes | None = None
        if probe_store is not None:
            probe_outlook = ProbeOutlook(outlook=outlook, runtimes=runtimes, queue=queue, catalog=catalog, store=store)
            prober = Prober(
                probes=probe_store,
                outlook=probe_outlook,
                ordering=ordering,
                watching=watching,
                dispatcher=dispatcher,
                runtimes=runtimes,
                renders=store,
                clock=clock,
            )
            probes = Probes(
                store=probe_store,
                outlook=probe_outlook,
                fleet=fleet,
                catalog=catalog,
                clock=clock,
                new_id=new_id,
                stop=dispatcher.stop,
                on_change=prober.wake,
            )
            works.append(prober.run())
            if target_rows is not None and probe_round_seconds:
                probing_round = ProbingRound(
                    probes=probes,
                    store=probe_store,
                    rows=target_rows,
                    runtimes=runtimes,
                    queue=queue,
                    clock=clock,
                    every_seconds=probe_round_seconds,
                )
                works.append(probing_round.run())
        for work in works:
            task = asyncio.create_task(work)
            task.add_done_callback(lambda _: on_failure())
            stack.push_async_callback(_ended, task)
        view = FleetView(runtimes=runtimes, catalog=catalog, outlook=outlook, queue=queue, clock=clock)
        yield Assembly(scheduler, intake, view, runtimes, dispatcher, probes)


@asynccontextmanager
async def reporting(
    database: Database, clock: Clock, bookkeepers: Sequence[Bookkeeper], *, on_failure: Callable[[], None]
) -> AsyncIterator[SqlReportStore]:
    """Wire the reports of ended attempts, and tell of them until the block ends. `on_failure` is as in `assembled`."""
    loop = asyncio.get_running_loop()
    store = SqlReportStore(database, lambda: loop.call_soon_threadsafe(reports.wake))
    reports = Reporting(store=store, bookkeepers=bookkeepers, clock=clock)
    task = asyncio.create_task(reports.run())
    task.add_done_callback(lambda _: on_failure())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_ended, task)
        yield store


@asynccontextmanager
async def post_office(
    database: Database,
    clock: Clock,
    catalog: Catalog,
    *,
    to_private_addresses: bool,
    on_failure: Callable[[], None],
) -> AsyncIterator[tuple[SqlWebhookStore, Webhooks]]:
    """Wire the webhooks, and deliver until the block ends. `on_failure` is as in `assembled`."""
    loop = asyncio.get_running_loop()
    store = SqlWebhookStore(database, new_id, lambda: loop.call_soon_threadsafe(postman.wake))
    async with HttpCourier(to_private_addresses=to_private_addresses) as courier, AsyncExitStack() as stack:
        postman = Postman(store=store, courier=courier, clock=clock, luck=random.random)
        webhooks = Webhooks(
            store=store,
            catalog=catalog,
            clock=clock,
            new_id=new_id,
            random_bytes=secrets.token_bytes,
            to_private_addresses=to_private_addresses,
            on_waiting=postman.wake,
        )
        delivering = asyncio.create_task(postman.deliver())
        delivering.add_done_callback(lambda _: on_failure())
        stack.push_async_callback(_ended, delivering)
        yield store, webhooks


async def serve(settings: SchedulerSettings, told_to_stop: asyncio.Event) -> None:
    """Serve until told to stop. Unwinding the stack is the shutdown plan: calls, attempts, workers, stores."""
    clock = SystemClock()
    caller = service_caller("scheduler")
    fleet = await read_fleet(settings.fleet, settings.config_dir)
    objects = from_url(settings.objects_url, mkdir=True)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            sqlite_database(settings.state_dir / "scheduler.sqlite3", MIGRATIONS)
        )
        catalog_channel = await stack.enter_async_context(channel_to(settings.catalog_address, caller))
        billing_channel = await stack.enter_async_context(channel_to(settings.billing_estimate_address, caller))
        catalog = GrpcCatalog(catalog_channel, clock)
        webhook_store, webhooks = await stack.enter_async_context(
            post_office(
                database,
                clock,
                catalog,
                to_private_addresses=settings.webhooks_to_private_addresses,
                on_failure=told_to_stop.set,
            )
        )
        reports = await stack.enter_async_context(
            reporting(
                database,
                clock,
                [GrpcMetering(billing_channel), GrpcLedger(catalog_channel)],
                on_failure=told_to_stop.set,
            )
        )
        assembly = await stack.enter_async_context(
            assembled(
                fleet=fleet,
                store=SqlRenderStore(database, clock, outboxes=(webhook_store.enqueue, reports.enqueue)),
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
                catalog=catalog,
                estimates=GrpcEstimates(billing_channel, clock),
                videos=ObstoreVideos(objects),
                checkpoints=ObstoreCheckpoints(objects),
                checker=JsonSchemaChecker(),
                clock=clock,
                policy=settings.policy,
                probe_store=SqlProbeStore(database),
                target_rows=GrpcTargetRows(catalog_channel),
                probe_round_seconds=settings.probe_round_seconds,
                on_failure=told_to_stop.set,
            )
        )
        await stack.enter_async_context(
            serving(
                settings.scheduler_address, mounts(assembly, webhooks), grace_seconds=settings.shutdown_grace_seconds
            )
        )
        await told_to_stop.wait()


def mounts(assembly: Assembly, webhooks: Webhooks) -> list[Mount]:
    """The services of the scheduler."""
    found = [
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
        Mount(
            webhook_service_pb2.DESCRIPTOR.services_by_name["WebhookService"],
            webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server,
            WebhookServicer(webhooks),
        ),
        Mount(
            intake_service_pb2.DESCRIPTOR.services_by_name["IntakeService"],
            intake_service_pb2_grpc.add_IntakeServiceServicer_to_server,
            IntakeServicer(assembly.intake),
        ),
    ]
    if assembly.probes is not None:
        probes = Mount(
            probe_service_pb2.DESCRIPTOR.services_by_name["ProbeService"],
            probe_service_pb2_grpc.add_ProbeServiceServicer_to_server,
            ProbeServicer(assembly.probes),
        )
        found.append(probes)
    return found


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
