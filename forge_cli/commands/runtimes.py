"""forge runtimes, stop, capacity: what is warm and what that costs, and where there is room."""

import asyncio
from collections.abc import Sequence

import click
from forge.catalog.v1.catalog_service_pb2 import GetModelRequest, ListModelsRequest
from forge.scheduler.v1.runtime_pb2 import Runtime, TargetCapacity
from forge.scheduler.v1.runtime_service_pb2 import (
    FamilyStatus,
    GetCapacityRequest,
    GetFamilyStatusRequest,
    StopRuntimeRequest,
)
from rich.text import Text

from forge_cli import words
from forge_cli.client import Client, run_with
from forge_cli.completing import a_model
from forge_cli.failures import CommandFailed
from forge_cli.options import client_options, gpu_type_option, json_option, region_option, version_option, wide_option
from forge_cli.settings import Settings
from forge_cli.tables import Column, show_columns


@click.command()
@click.argument("slug", required=False, shell_complete=a_model)
@click.option("--version", default="", help="Only this version of SLUG. [default: all]")
@wide_option
@json_option
@client_options
def runtimes(settings: Settings, slug: str | None, version: str, is_wide: bool, as_json: bool) -> None:
    """List what is cold, starting or warm, for one model or for all, and what keeping it so costs."""
    families = run_with(settings, lambda client: _families(client, slug, version))
    if as_json:
        words.show_json(families)
        return
    rows = [row for family in families for row in _rows(family)]
    if not rows:
        click.echo("the catalogue is empty")
        return
    slugs, versions, statuses, targets, starts, ends, prices, costs = zip(*rows, strict=True)
    columns = [
        Column("MODEL", slugs, is_number=False),
        Column("VERSION", versions, is_number=False, sparable=2),
        Column("STATUS", statuses, is_number=False),
        Column("TARGET", targets, is_number=False),
        Column("STARTED IN", starts, sparable=3),
        Column("FREED IN", ends, is_number=False),
        Column("$/HOUR", prices, sparable=1),
        Column("$ SO FAR", costs),
    ]
    show_columns(words.stdout_console(), columns, is_wide=is_wide)


@click.command()
@click.argument("slug", shell_complete=a_model)
@version_option
@gpu_type_option
@region_option
@json_option
@client_options
def stop(settings: Settings, slug: str, version: str, gpu_type: str, region: str, as_json: bool) -> None:
    """Stop the idle runtimes of a model and free their slots."""
    request = StopRuntimeRequest(slug=slug, version=version, gpu_type=gpu_type, region=region)
    found = run_with(settings, lambda client: client.call(client.runtimes.StopRuntime, request, timeout_seconds=120))
    if as_json:
        words.show_json(found)
        return
    count = found.stopped_runtimes
    click.echo(f"{found.slug} {found.version}: {count} runtime{'' if count == 1 else 's'} stopped")


@click.command()
@json_option
@client_options
def capacity(settings: Settings, as_json: bool) -> None:
    """List the targets of the fleet, what is free on each, what waits for it, and what it is spared from."""
    found = run_with(settings, lambda client: client.call(client.runtimes.GetCapacity, GetCapacityRequest()))
    if as_json:
        words.show_json(found)
        return
    rows = [
        [
            _name(target),
            _slots(target),
            str(target.idle_runtimes),
            str(target.busy_runtimes),
            str(target.queued_renders),
            words.seconds(target.queued_gpu_seconds) if target.queued_gpu_seconds else "",
        ]
        for target in found.targets
    ]
    columns = ["TARGET", ">FREE SLOTS", ">WARM, IDLE", ">BUSY", ">QUEUED", ">QUEUED DEVICE TIME"]
    console = words.stdout_console()
    words.show_table(console, columns, rows, empty="the fleet has no slots")
    for target in found.targets:
        for spared in target.open_circuits:
            until = words.moment(spared.until)
            told = f"{_name(target)} gets no work of {spared.slug} {spared.version} until {until}: {spared.message}"
            console.print(Text(told, style="yellow"), soft_wrap=True)


def _slots(target: TargetCapacity) -> str:
    free = f"{target.free_slots} of {target.total_slots}"
    return f"{free}, {target.absent_slots} absent" if target.absent_slots else free


def _name(target: TargetCapacity) -> str:
    return f"{target.gpu_type} {target.region}{' (simulated)' if target.simulated else ''}"


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
        return [[family.slug, family.version, family.status, "", "", "", "", ""]]
    return [
        [
            family.slug,
            family.version,
            _status(runtime),
            f"{runtime.gpu_type} {runtime.region}{' (simulated)' if runtime.simulated else ''}",
            words.measured_ms(runtime, "startup_ms"),
            _freed(runtime),
            words.dollars(words.known(runtime, "cost_per_gpu_hour_usd")),
            words.dollars(words.known(runtime, "cost_so_far_usd")),
        ]
        for runtime in family.runtimes
    ]


def _status(runtime: Runtime) -> str:
    if runtime.status == "starting":
        return ": ".join(filter(None, ("starting", words.start(runtime))))
    return "warm, busy" if runtime.busy else runtime.status


def _freed(runtime: Runtime) -> str:
    if runtime.keep_warm:
        return "kept warm"
    return words.seconds(runtime.idle_release_seconds) if runtime.HasField("idle_release_seconds") else ""
