"""Composition root of the scheduler: `python -m services.scheduler`."""

import asyncio
import os
import random
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from forge.scheduler.v1 import (
    intake_service_pb2,
    intake_service_pb2_grpc,
    probe_service_pb2,
    probe_service_pb2_grpc,
    render_service_pb2,
    render_service_pb2_grpc,
    runtime_service_pb2,
    runtime_service_pb2_grpc,
    upload_service_pb2,
    upload_service_pb2_grpc,
    webhook_service_pb2,
    webhook_service_pb2_grpc,
)
from obstore.store import ObjectStore, S3Store

from services.chassis.audit.outbox import MIGRATIONS as AUDIT_MIGRATIONS
from services.chassis.audit.shipping import GrpcAuditLog, audit_trail
from services.chassis.clients import channel_to
from services.chassis.clock import SystemClock
from services.chassis.identity import service_caller
from services.chassis.ids import new_id
from services.chassis.objects import check_objects, object_store
from services.chassis.process import run, settings_of
from services.chassis.relay import Relay
from services.chassis.server import Mount, serving
from services.chassis.storage import Database, database_of, schema_of
from services.chassis.strict_yaml import ConfigurationInvalid
from services.chassis.tasks import entered
from services.chassis.trust import Certificates, Trust
from services.scheduler.adapters.darkroom_images import DarkroomImages
from services.scheduler.adapters.fenced_database import FencedDatabase
from services.scheduler.adapters.grpc_bookkeepers import GrpcLedger, GrpcMetering
from services.scheduler.adapters.grpc_catalog import GrpcCatalog
from services.scheduler.adapters.grpc_estimates import GrpcEstimates
from services.scheduler.adapters.grpc_spans import GrpcSpans
from services.scheduler.adapters.grpc_target_rows import GrpcTargetRows
from services.scheduler.adapters.grpc_workers import GrpcWorkers
from services.scheduler.adapters.http_courier import HttpCourier
from services.scheduler.adapters.http_images import HttpImages
from services.scheduler.adapters.json_schema import JsonSchemaChecker
from services.scheduler.adapters.local_placer import LocalPlacer
from services.scheduler.adapters.obstore_checkpoints import ObstoreCheckpoints
from services.scheduler.adapters.obstore_uploads import ObstoreUploads
from services.scheduler.adapters.obstore_videos import ObstoreVideos
from services.scheduler.adapters.postgresql_leadership import PostgresqlLeadership
from services.scheduler.adapters.psutil_processes import PsutilProcesses
from services.scheduler.adapters.ray_placer import RayPlacer, passed_on
from services.scheduler.adapters.sql_bulletins import SqlBulletinBoard
from services.scheduler.adapters.sql_probes import SqlProbeStore
from services.scheduler.adapters.sql_reports import SqlReportStore
from services.scheduler.adapters.sql_runtimes import SqlRuntimeStore
from services.scheduler.adapters.sql_store import Outbox, SqlRenderStore
from services.scheduler.adapters.sql_uploads import SqlUploadStore
from services.scheduler.adapters.sql_webhooks import SqlWebhookStore
from services.scheduler.adapters.yaml_fleet import read_fleet
from services.scheduler.assembly import Assembly, Reign, Replication, assembled
from services.scheduler.config import SchedulerSettings
from services.scheduler.ports import Catalog, Clock
from services.scheduler.probe_servicer import ProbeServicer
from services.scheduler.replica_ports import Leadership
from services.scheduler.report_ports import Bookkeeper
from services.scheduler.servicer import IntakeServicer, RenderServicer, RuntimeServicer
from services.scheduler.upload_servicer import UploadServicer
from services.scheduler.usecases.images import Images
from services.scheduler.usecases.leftovers import Leftovers
from services.scheduler.usecases.reporting import Reporting
from services.scheduler.usecases.uploads import Uploads
from services.scheduler.usecases.webhooks import Postman, Webhooks
from services.scheduler.webhook_servicer import WebhookServicer

if TYPE_CHECKING:
    from services.scheduler.adapters.s3_bucket import S3Bucket

log = structlog.get_logger()

_LOOK_SECONDS = 0.05
LED_SERVICES = ("forge.scheduler.v1.RuntimeService", "forge.scheduler.v1.ProbeService")
"""What only the replica that leads can answer: it alone knows the runtimes as they are."""
_RAY_ADDRESS = re.compile(r"(ray://)?([A-Za-z0-9_.-]+|\[[0-9a-f:]+\]):[0-9]{1,5}")
MIGRATIONS = Path(__file__).parent / "adapters" / "migrations"


def reporting(database: Database, clock: Clock, bookkeepers: Sequence[Bookkeeper]) -> tuple[SqlReportStore, Reporting]:
    """Wire the reports of ended attempts."""
    loop = asyncio.get_running_loop()
    store = SqlReportStore(database, lambda: loop.call_soon_threadsafe(reports.wake))
    reports = Reporting(store=store, bookkeepers=bookkeepers, clock=clock)
    return store, reports


@asynccontextmanager
async def post_office(
    database: Database,
    clock: Clock,
    catalog: Catalog,
    *,
    to_private_addresses: bool,
) -> AsyncIterator[tuple[SqlWebhookStore, Webhooks, Postman]]:
    """Wire the webhooks."""
    loop = asyncio.get_running_loop()
    store = SqlWebhookStore(database, new_id, lambda: loop.call_soon_threadsafe(postman.wake))
    async with HttpCourier(to_private_addresses=to_private_addresses) as courier:
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
        yield store, webhooks, postman


@asynccontextmanager
async def image_desk(
    database: Database,
    objects: ObjectStore,
    clock: Clock,
    settings: SchedulerSettings,
) -> AsyncIterator[tuple[Images, Uploads]]:
    """Wire what becomes of images in requests."""
    async with AsyncExitStack() as stack:
        decoding = await stack.enter_async_context(DarkroomImages())
        uploads = Uploads(
            store=SqlUploadStore(database),
            files=ObstoreUploads(objects),
            decoding=decoding,
            clock=clock,
            limits=settings.upload_limits,
            new_id=new_id,
        )
        remote: HttpImages | None = None
        if settings.image_hosts:
            remote = await stack.enter_async_context(
                HttpImages(settings.image_hosts, to_private_addresses=settings.image_urls_from_private_addresses)
            )
        yield Images(decoding=decoding, uploads=uploads, remote=remote), uploads


async def serve(settings: SchedulerSettings, told_to_stop: asyncio.Event) -> None:
    """Serve until told to stop. Unwinding the stack is the shutdown plan: calls, attempts, workers, stores."""
    clock = SystemClock()
    caller, trust = service_caller("scheduler"), Trust.of("scheduler", settings)
    fleet = await read_fleet(settings.fleet, settings.config_dir, on_cluster=settings.placer == "ray")
    objects = object_store(settings)
    if problem := await check_objects(objects):
        log.warning("what needs objects has to wait", problem=problem)
    bucket = bucket_of(objects, settings)
    leadership = leadership_of(settings, clock)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(database_of(settings, settings.database_path, MIGRATIONS))
        if leadership is not None:
            database = FencedDatabase(database, lambda: leadership.term, _deposed)
        catalog_channel = await stack.enter_async_context(
            channel_to(settings.catalog_address, caller, trust=trust, peer="catalog")
        )
        billing_channel = await stack.enter_async_context(
            channel_to(settings.billing_estimate_address, caller, trust=trust, peer="billing-estimate")
        )
        accounts_channel = await stack.enter_async_context(
            channel_to(settings.accounts_address, caller, trust=trust, peer="accounts")
        )
        traces_channel = await stack.enter_async_context(
            channel_to(settings.traces_address, caller, trust=trust, peer="traces")
        )
        trail = await stack.enter_async_context(
            audit_trail(
                database_of(settings, settings.audit_outbox_path, AUDIT_MIGRATIONS),
                GrpcAuditLog(accounts_channel),
                clock,
                on_failure=told_to_stop.set,
            )
        )
        catalog = GrpcCatalog(catalog_channel, clock)
        webhook_store, webhooks, postman = await stack.enter_async_context(
            post_office(database, clock, catalog, to_private_addresses=settings.webhooks_to_private_addresses)
        )
        images, uploads = await stack.enter_async_context(image_desk(database, objects, clock, settings))
        reports, reporter = reporting(database, clock, [GrpcMetering(billing_channel), GrpcLedger(catalog_channel)])
        outboxes: list[Outbox] = [webhook_store.enqueue, reports.enqueue]
        if leadership is not None:
            outboxes.append(leadership.tell)
        store = SqlRenderStore(database, clock, outboxes=outboxes)
        tidying = [uploads.tidy, *([Leftovers(puts=bucket, clock=clock).tidy] if bucket else [])]
        ray = await stack.enter_async_context(ray_placer(settings)) if settings.placer == "ray" else None
        placer = ray or local_placer(settings)
        assembly = await stack.enter_async_context(
            assembled(
                fleet=fleet,
                store=store,
                runtime_store=SqlRuntimeStore(database),
                placer=placer,
                workers=await stack.enter_async_context(GrpcWorkers(caller, trust)),
                catalog=catalog,
                estimates=GrpcEstimates(billing_channel, clock),
                videos=ObstoreVideos(objects),
                addresses=bucket,
                checkpoints=ObstoreCheckpoints(objects),
                checker=JsonSchemaChecker(),
                images=images,
                spans=GrpcSpans(traces_channel),
                processes=PsutilProcesses(settings.home),
                clock=clock,
                policy=settings.policy,
                probe_store=SqlProbeStore(database),
                target_rows=GrpcTargetRows(catalog_channel),
                probe_round_seconds=settings.probe_round_seconds,
                replication=leadership and Replication(leadership, store, SqlBulletinBoard(database)),
                cluster=ray,
                further_works=[*([] if ray else [partial(entered, placer)]), postman.deliver, reporter.run, *tidying],
                on_failure=told_to_stop.set,
            )
        )
        relay: Relay | None = None
        if leadership is not None:
            elsewhere = partial(_elsewhere, assembly.reign, leadership)
            relay = await stack.enter_async_context(Relay("scheduler", LED_SERVICES, elsewhere, trust))
            while leadership.leader is None or not (assembly.reign.is_settled or leadership.term is None):
                if told_to_stop.is_set():
                    return
                await clock.sleep(_LOOK_SECONDS)  # whoever calls from now on finds somebody who leads
        await stack.enter_async_context(
            serving(
                settings.scheduler_address,
                mounts(assembly, webhooks, uploads),
                grace_seconds=settings.shutdown_grace_seconds,
                trust=trust,
                audit=trail,
                relay=relay,
            )
        )
        await told_to_stop.wait()


def local_placer(settings: SchedulerSettings) -> LocalPlacer:
    """Workers on this machine."""
    return LocalPlacer(
        settings.home,
        environment={"FORGE_HOME": str(settings.home), "FORGE_WEIGHTS": settings.weights},
        launch_seconds=settings.worker_launch_seconds,
        stop_seconds=settings.worker_stop_seconds,
        spares=settings.worker_spares,
    )


def ray_placer(settings: SchedulerSettings, logs: Path | None = None) -> RayPlacer:
    """Workers on the machines of a Ray cluster. Raises ConfigurationInvalid."""
    problems: list[str] = []
    if not _RAY_ADDRESS.fullmatch(settings.ray_address):
        problems.append("RAY_ADDRESS: where the Ray cluster is, ray://host:10001, or host:6379 on one of its machines")
    if "objects_url" not in settings.model_fields_set:
        problems.append(
            "FORGE_OBJECTS_URL: workers on other machines store videos too: name a bucket, s3://bucket/prefix, or a "
            "folder that all machines have, file:///folder"
        )
    if problems:
        raise ConfigurationInvalid(problems)
    certificates: Certificates | None = None
    if settings.tls_dir is not None:
        with suppress(ConfigurationInvalid):  # then each machine has its own, and says so with FORGE_TLS_DIR
            certificates = Certificates.in_folder(settings.tls_dir, "inference-worker")
    own = {
        "FORGE_WEIGHTS": settings.weights,
        "FORGE_OBJECTS_URL": settings.objects_url,
        "FORGE_TRACES_ADDRESS": settings.traces_address,
    }
    return RayPlacer(
        settings.ray_address,
        logs=logs or settings.home / "logs",
        environment=passed_on(os.environ) | own,
        certificates=certificates,
        launch_seconds=settings.worker_launch_seconds,
        stop_seconds=settings.worker_stop_seconds,
    )


def bucket_of(objects: ObjectStore, settings: SchedulerSettings) -> "S3Bucket | None":
    """What more a bucket can do; None where objects lie in a folder."""
    if not isinstance(objects, S3Store):
        return None
    from services.scheduler.adapters.s3_bucket import S3Bucket  # half a second that few installations need

    return S3Bucket(objects, public_endpoint=settings.objects_public_endpoint)


def leadership_of(settings: SchedulerSettings, clock: Clock) -> PostgresqlLeadership | None:
    """How this process comes to lead where others may do so; None where the tables are files, which are its own."""
    if settings.database_url is None:
        return None
    return PostgresqlLeadership(
        settings.database_url.get_secret_value(),
        schema_of(settings.database_path),
        settings.scheduler_advertised_address or settings.scheduler_address,
        clock,
        on_deposed=_deposed,
    )


def _elsewhere(reign: Reign, leadership: Leadership) -> str | None:
    """Where calls are answered that only the leader can answer; empty while nobody can, None for here."""
    if reign.is_settled:
        return None
    return "" if reign.has_begun else leadership.leader or ""


def _deposed() -> None:
    """End as a crash does: what this process still has under way is its successor's, also the workers."""
    log.critical("another scheduler leads in place of this one, which was silent for too long")
    os._exit(1)


def mounts(assembly: Assembly, webhooks: Webhooks, uploads: Uploads) -> list[Mount]:
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
            upload_service_pb2.DESCRIPTOR.services_by_name["UploadService"],
            upload_service_pb2_grpc.add_UploadServiceServicer_to_server,
            UploadServicer(uploads),
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


def main() -> None:
    """Run the service."""
    settings = settings_of(SchedulerSettings)
    run("scheduler", settings, lambda told_to_stop: serve(settings, told_to_stop))


if __name__ == "__main__":
    main()
