"""forge runtimes, start, stop, capacity: what is warm, and where there is room."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import click
from forge.catalog.v1.catalog_service_pb2 import GetModelRequest, ListModelsRequest
from forge.scheduler.v1.runtime_pb2 import Runtime
from forge.scheduler.v1.runtime_service_pb2 import (
    FamilyStatus,
    GetCapacityRequest,
    GetFamilyStatusRequest,
    StartRuntimeRequest,
    StartRuntimeResponse,
    StopRuntimeRequest,
)
from rich.console import Console
from rich.status import Status

from forge_cli import words
from forge_cli.client import Client, run_with
from forge_cli.failures import CommandFailed
from forge_cli.options import client_options, gpu_type_option, json_option, region_option, version_option
from forge_cli.settings import Settings

_START_SECONDS = 3600.0


@click.command()
@click.argument("slug", required=False)
@click.option("--version", default="", help="Only this version of SLUG. [default: all]")
@json_option
@client_options
def runtimes(settings: Settings, slug: str | None, version: str, as_json: bool) -> None:
    """List what is cold, starting or warm, for one model or for all."""
    families = run_with(settings, lambda client: _families(client, slug, version))
    if as_json:
        words.show_json(families)
        return
    rows = [row for family in families for row in _rows(family)]
    columns = ["MODEL", "VERSION", "STATUS", "TARGET", ">STARTED IN", "FREED IN"]
    words.show_table(words.stdout_console(), columns, rows, empty="the catalogue is empty")


@click.command()
@click.argument("slug")
@version_option
@gpu_type_option
@region_option
@click.option("--keep", is_flag=True, help="Keep it warm until it is stopped.")
@json_option
@client_options
def start(settings: Settings, slug: str, version: str, gpu_type: str, region: str, keep: bool, as_json: bool) -> None:
    """Start a model and wait until it is warm."""
    request = StartRuntimeRequest(slug=slug, version=version, gpu_type=gpu_type, region=region, run_until_stopped=keep)
    console = Console(stderr=True)
    with console.status(f"starting {slug}") as status:
        found = run_with(settings, lambda client: _start(client, request, status))
    if as_json:
        words.show_json(found)
        return
    where = f"{found.gpu_type} {found.region}{' (simulated)' if found.simulated else ''}"
    how = "started in" if found.was_cold_start else "was already warm; its start took"
    kept = "; it stays warm until it is stopped" if found.keep_warm else ""
    click.echo(f"{found.slug} {found.version} on {where} {how} {words.seconds(found.startup_ms / 1000)}{kept}")


@click.command()
@click.argument("slug")
@version_option
@gpu_type_option
@region_option
@client_options
def stop(settings: Settings, slug: str, version: str, gpu_type: str, region: str) -> None:
    """Stop the idle runtimes of a model and free their slots."""
    request = StopRuntimeRequest(slug=slug, version=version, gpu_type=gpu_type, region=region)
    found = run_with(settings, lambda client: client.call(client.runtimes.StopRuntime, request, timeout_seconds=120))
    count = found.stopped_runtimes
    click.echo(f"{found.slug} {found.version}: {count} runtime{'' if count == 1 else 's'} stopped")


@click.command()
@json_option
@client_options
def capacity(settings: Settings, as_json: bool) -> None:
    """List the targets of the fleet and what is free on each."""
    found = run_with(settings, lambda client: client.call(client.runtimes.GetCapacity, GetCapacityRequest()))
    if as_json:
        words.show_json(found)
        return
    rows = [
        [
            f"{target.gpu_type} {target.region}{' (simulated)' if target.simulated else ''}",
            f"{target.free_slots} of {target.total_slots}",
            str(target.idle_runtimes),
            str(target.busy_runtimes),
            str(target.queued_renders),
        ]
        for target in found.targets
    ]
    columns = ["TARGET", ">FREE SLOTS", ">WARM, IDLE", ">BUSY", ">QUEUED"]
    words.show_table(words.stdout_console(), columns, rows, empty="the fleet has no slots")


async def _families(client: Client, slug: str | None, version: str) -> Sequence[FamilyStatus]:
    if slug:
        models = [await client.call(client.catalog.GetModel, GetModelRequest(slug=slug))]
    elif version:
        raise CommandFailed("--version needs the model it belongs to", hints=["write: forge runtimes SLUG --version …"])
    else:
        models = (await client.call(client.catalog.ListModels, ListModelsRequest(page_size=100))).models
    wanted = [
        GetFamilyStatusRequest(slug=model.slug, version=name)
        for model in models
        for name in ([version] if version else [kind.version for kind in model.versions])
    ]
    return await asyncio.gather(*(client.call(client.runtimes.GetFamilyStatus, request) for request in wanted))


def _rows(family: FamilyStatus) -> list[list[str]]:
    if not family.runtimes:
        return [[family.slug, family.version, family.status, "", "", ""]]
    return [
        [
            family.slug,
            family.version,
            _status(runtime),
            f"{runtime.gpu_type} {runtime.region}{' (simulated)' if runtime.simulated else ''}",
            words.measured_ms(runtime, "startup_ms"),
            _freed(runtime),
        ]
        for runtime in family.runtimes
    ]


def _status(runtime: Runtime) -> str:
    if runtime.status == "starting" and runtime.start_phase:
        return f"starting: {runtime.start_phase}"
    return "warm, busy" if runtime.busy else runtime.status


def _freed(runtime: Runtime) -> str:
    if runtime.keep_warm:
        return "kept warm"
    return words.seconds(runtime.idle_release_seconds) if runtime.HasField("idle_release_seconds") else ""


async def _start(client: Client, request: StartRuntimeRequest, status: Status) -> StartRuntimeResponse:
    """Start, and say meanwhile what the start is doing."""
    call = client.call(client.runtimes.StartRuntime, request, timeout_seconds=_START_SECONDS)
    starting = asyncio.ensure_future(call)
    question = GetFamilyStatusRequest(slug=request.slug, version=request.version)
    try:
        while not starting.done():
            await asyncio.wait({starting}, timeout=1.0)
            with suppress(CommandFailed):  # the start itself says what is wrong
                family = await client.call(client.runtimes.GetFamilyStatus, question)
                phases = [runtime.start_phase for runtime in family.runtimes if runtime.status == "starting"]
                status.update(f"starting {request.slug}: {', '.join(filter(None, phases)) or family.status}")
    finally:
        starting.cancel()
    return await starting
