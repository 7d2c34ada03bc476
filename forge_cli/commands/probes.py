"""forge probe, probes: versions measured on targets on purpose."""

from collections.abc import Sequence
from contextlib import aclosing, suppress

import click
from forge.catalog.v1.catalog_service_pb2 import GetReliabilityRequest
from forge.catalog.v1.measurement_pb2 import TargetRow
from forge.scheduler.v1.probe_pb2 import Probe, ProbeRun
from forge.scheduler.v1.probe_service_pb2 import (
    CancelProbeRequest,
    CreateProbesRequest,
    CreateProbesResponse,
    GetProbeRequest,
    ListProbesRequest,
)
from google.protobuf import json_format
from rich.console import Console
from rich.text import Text

from forge_cli import exits, words
from forge_cli.client import Client, run_with
from forge_cli.completing import a_model, a_probe
from forge_cli.failures import CommandFailed
from forge_cli.options import client_options, gpu_type_option, json_option, region_option, version_option, wide_option
from forge_cli.patience import Patience
from forge_cli.performance import name_of
from forge_cli.probing import finished_runs, follow_probes, pause, probes_view
from forge_cli.settings import Settings
from forge_cli.tables import Column, show_columns

_LOOKS_AT_THE_LEDGER = 5
"""Measurements reach the ledger a little after the run that made them."""


@click.command()
@click.argument("slug", shell_complete=a_model)
@version_option
@gpu_type_option
@region_option
@click.option("--target", metavar="GPU@REGION", help="Both at once, for example H200@eu-north2.")
@click.option(
    "--runs",
    type=click.IntRange(1, 100),
    metavar="N",
    help="How often the example is rendered. [default: the installation's; fewer than 3 verify nothing]",
)
@click.option("--detach", is_flag=True, help="Print the ids and leave the probes running.")
@json_option
@client_options
def probe(
    settings: Settings,
    slug: str,
    version: str,
    gpu_type: str,
    region: str,
    target: str | None,
    runs: int | None,
    detach: bool,
    as_json: bool,
) -> None:
    """Measure a model: on one target, or on each target of the fleet that fits it.

    A probe waits until a device is free and gives way to renders. The exit status is 0 when every probe has succeeded,
    130 after Ctrl-C, which leaves them running, and 1 otherwise.
    """
    if target:
        if gpu_type or region:
            raise click.UsageError("--target says both: leave out --gpu-type and --region")
        gpu_type, at, region = target.partition("@")
        if not (gpu_type and at and region):
            raise click.UsageError("write --target as GPU@REGION, for example H200@eu-north2")
    request = CreateProbesRequest(slug=slug, model_version=version, gpu_type=gpu_type, region=region, runs=runs or 0)
    made = run_with(settings, lambda client: client.call(client.probes.CreateProbes, request))
    if not detach:
        _see_through(settings, made.probes, as_json=as_json)
    elif as_json:
        words.show_json(made)
    else:
        for one in made.probes:
            click.echo(one.id)


class _ListingGroup(click.Group):
    """A group whose plain name lists: `forge probes --status failed` is `forge probes list --status failed`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Fill in the command that is left out."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListingGroup)
def probes() -> None:
    """List probes, watch them and cancel them; forge probe makes them."""


@probes.command("list")
@click.option("--model", default="", shell_complete=a_model, help="Keep probes of this model.")
@click.option("--status", default="", help="Keep probes with this status, for example running.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100), help="How many to list.")
@wide_option
@json_option
@client_options
def list_probes(settings: Settings, model: str, status: str, limit: int, is_wide: bool, as_json: bool) -> None:
    """List the newest probes. This is what forge probes does."""
    request = ListProbesRequest(slug=model, status=status, page_size=limit)
    found = run_with(settings, lambda client: client.call(client.probes.ListProbes, request))
    if as_json:
        words.show_json(found)
        return
    console, listed = words.stdout_console(), found.probes
    if not listed:
        console.print(Text("there are no probes"))
        return
    runs = [f"{finished_runs(one)} of {len(one.runs)}" if one.runs else "" for one in listed]
    happens = [_reason(one.message, one.reason) for one in listed]
    columns = [
        Column("ID", [one.id for one in listed], is_number=False),
        Column("MODEL", [one.slug for one in listed], is_number=False),
        Column("VERSION", [one.model_version for one in listed], is_number=False, sparable=3),
        Column("TARGET", [words.target(one.target) for one in listed], is_number=False),
        Column("STATUS", [one.status for one in listed], is_number=False),
        Column("RUNS", runs),
        Column("ORIGIN", [one.origin for one in listed], is_number=False, sparable=2),
        Column("MADE", [words.moment(one.created_at) for one in listed], is_number=False, sparable=1),
        Column("WHAT HAPPENS", happens, is_number=False, folds_at=20),
    ]
    show_columns(console, columns, is_wide=is_wide)


@probes.command()
@click.argument("probe_ids", metavar="ID...", nargs=-1, required=True, shell_complete=a_probe)
@json_option
@client_options
def watch(settings: Settings, probe_ids: tuple[str, ...], as_json: bool) -> None:
    """Watch probes to their end, as forge probe does."""

    async def look(client: Client) -> list[Probe]:
        wanted = [GetProbeRequest(probe_id=one) for one in dict.fromkeys(probe_ids)]
        return [await client.call(client.probes.GetProbe, request) for request in wanted]

    _see_through(settings, run_with(settings, look), as_json=as_json)


@probes.command()
@click.argument("probe_id", metavar="ID", shell_complete=a_probe)
@json_option
@client_options
def cancel(settings: Settings, probe_id: str, as_json: bool) -> None:
    """Stop a probe. One that has ended stays as it is."""
    request = CancelProbeRequest(probe_id=probe_id)
    found = run_with(settings, lambda client: client.call(client.probes.CancelProbe, request))
    if as_json:
        words.show_json(found)
        return
    click.echo(f"{found.id} is {found.status}")


def _see_through(settings: Settings, made: Sequence[Probe], *, as_json: bool) -> None:
    """Watch probes to their end and say what they came to. Exit with 1 when one did not succeed."""
    try:
        ended, rows = run_with(settings, lambda client: _watch(client, made, Console(stderr=True, quiet=as_json)))
    except KeyboardInterrupt:
        if as_json:
            raise  # a program knows the ids
        _interrupted(made)
        raise click.exceptions.Exit(exits.INTERRUPTED) from None
    if as_json:
        words.show_json(CreateProbesResponse(probes=ended))
    else:
        _show(ended, rows)
    if any(one.status != "succeeded" for one in ended):
        raise click.exceptions.Exit(exits.FAILED)


async def _watch(
    client: Client, made: Sequence[Probe], console: Console
) -> tuple[Sequence[Probe], dict[str, TargetRow | None]]:
    """The probes when all have ended, and by their ids the rows they were made for."""

    def say(text: str) -> None:
        console.print(Text(text), soft_wrap=True)

    ended = made
    with probes_view(console) as show:
        async with aclosing(follow_probes(client, made, Patience(say))) as looks:
            async for ended in looks:
                show(ended)
    return ended, {one.id: await _row(client, one) for one in ended}


async def _row(client: Client, ended: Probe) -> TargetRow | None:
    """The probe's row of the performance table, with its runs counted in; None when the ledger does not answer."""
    target = ended.target
    request = GetReliabilityRequest(
        slug=ended.slug, model_version=ended.model_version, gpu_type=target.gpu_type, region=target.region
    )
    counted = sum(run.counts and run.status == "succeeded" for run in ended.runs)
    found: TargetRow | None = None
    with suppress(CommandFailed):  # what the runs came to is worth showing without it
        for look in range(_LOOKS_AT_THE_LEDGER):
            if look:
                await pause()
            rows = (await client.call(client.catalog.GetReliability, request)).targets
            found = next((row for row in rows if (row.gpu_type, row.region) == (target.gpu_type, target.region)), None)
            if found and found.sample_count >= counted:
                break
    return found


def _show(ended: Sequence[Probe], rows: dict[str, TargetRow | None]) -> None:
    console = words.stdout_console()
    columns = ["TARGET", ">RUN", "INPUT", "STATUS", ">COLD START", ">MODEL TIME", "COUNTS"]
    lines = [
        [words.target(one.target), str(number), _input(run), *_outcome(run)]
        for one in ended
        for number, run in enumerate(one.runs, start=1)
    ]
    words.show_table(console, columns, lines, empty="nothing was run")
    for one in ended:
        if one.status != "succeeded":
            why = _reason(one.message, one.reason)
            console.print(Text(f"{one.id} {one.status}{f': {why}' if why else ''}", style="red"), soft_wrap=True)
        if row := rows.get(one.id):
            why = f": {row.explanation}" if row.explanation else ""
            console.print(Text(f"{name_of(row)} is {row.status}{why}"), soft_wrap=True)


def _input(run: ProbeRun) -> str:
    given = json_format.MessageToDict(run.input)
    return ", ".join(f"{field}={_plain(value)}" for field, value in given.items()) or "the example"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _outcome(run: ProbeRun) -> list[str]:
    return [
        f"{run.status}: {run.reason}" if run.reason else run.status,
        words.measured_ms(run, "cold_start_ms") if run.HasField("cold_start_ms") else "",
        words.measured_ms(run, "model_ms"),
        "yes" if run.counts else "no",
    ]


def _reason(message: str, reason: str) -> str:
    if not reason:
        return message
    return f"{message} (reason: {reason})" if message else f"reason: {reason}"


def _interrupted(made: Sequence[Probe]) -> None:
    ids = " ".join(one.id for one in made)
    click.echo(f"{ids} {'goes' if len(made) == 1 else 'go'} on without you.", err=True)
    click.echo(f"  look again with  forge probes watch {ids}", err=True)
    click.echo(f"  or end it with   forge probes cancel {made[0].id if len(made) == 1 else 'ID'}", err=True)
