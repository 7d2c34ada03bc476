"""forge render, watch, cancel, renders: from a wish to a video on disk."""

import sys
import uuid
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import click
from forge.catalog.v1.catalog_service_pb2 import GetInputSchemaRequest
from forge.scheduler.v1.render_pb2 import Render
from forge.scheduler.v1.render_service_pb2 import (
    CancelRenderRequest,
    CreateRenderRequest,
    GetRenderRequest,
    ListRendersRequest,
)
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from rich.console import Console
from rich.text import Text

from forge_cli import words
from forge_cli.client import Client, run_with
from forge_cli.failures import CommandFailed
from forge_cli.inputs import build_inputs
from forge_cli.options import client_options, gpu_type_option, json_option, region_option, version_option
from forge_cli.progress import playable_of, progress_view
from forge_cli.settings import Settings
from forge_cli.streaming import PLAYER, STANDARD_OUTPUT, LiveVideo
from forge_cli.videos import download
from forge_cli.watching import follow

_INTERRUPTED = 130


def _not_to_a_terminal(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    if path == STANDARD_OUTPUT and sys.stdout.isatty():
        raise click.BadParameter(f"a terminal shows no videos; pipe this into a player: … --stream - | {PLAYER}")
    return path


output_option = click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where the finished video goes."
)
stream_option = click.option(
    "--stream",
    metavar="FILE|-",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    callback=_not_to_a_terminal,
    help="Write the video here while it is made, to be played as it grows; - for a pipe to a player.",
)


@click.command()
@click.argument("slug")
@click.option("-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="An input; may be repeated.")
@click.option(
    "--image", type=click.Path(dir_okay=False, path_type=Path), help="Image to start from: PNG, JPEG, WebP, PPM."
)
@output_option
@stream_option
@version_option
@gpu_type_option
@region_option
@click.option("--detach", is_flag=True, help="Print the render's id and leave it running.")
@click.option("--cancel-on-interrupt", is_flag=True, help="Let Ctrl-C cancel the render too.")
@client_options
def render(
    settings: Settings,
    slug: str,
    parameters: tuple[str, ...],
    image: Path | None,
    output: Path | None,
    stream: Path | None,
    version: str,
    gpu_type: str,
    region: str,
    detach: bool,
    cancel_on_interrupt: bool,
) -> None:
    """Render a video with the model SLUG and fetch it. See its inputs with: forge model SLUG.

    Without -o and --stream the finished video goes into a file named after the render.
    """
    if detach and stream:
        raise click.UsageError(
            "--stream needs somebody who waits: leave out --detach, or stream later with forge watch"
        )
    pins = {"model_version": version, "gpu_type": gpu_type, "region": region}

    async def accept(client: Client) -> Render:
        request = GetInputSchemaRequest(slug=slug, model_version=version)
        inputs = await client.call(client.catalog.GetInputSchema, request)
        schema = json_format.MessageToDict(inputs.schema)
        body = build_inputs(schema, parameters, image, slug=slug)
        body |= {"model": slug, **{name: value for name, value in pins.items() if value}}
        body.setdefault("request_id", str(uuid.uuid4()))
        body.setdefault("model_version", inputs.model_version)
        struct = Struct()
        struct.update(body)
        return await client.call(client.renders.CreateRender, CreateRenderRequest(input=struct))

    accepted = run_with(settings, accept)
    if detach:
        click.echo(accepted.id)
        return
    if not stream:
        output = output or Path(f"{accepted.id}.mp4")
    _finish(settings, accepted, output, stream, cancel_on_interrupt=cancel_on_interrupt)


@click.command()
@click.argument("render_id", metavar="ID")
@output_option
@stream_option
@client_options
def watch(settings: Settings, render_id: str, output: Path | None, stream: Path | None) -> None:
    """Watch a render to its end; with --stream play its video meanwhile, with -o fetch it then."""
    found = run_with(
        settings, lambda client: client.call(client.renders.GetRender, GetRenderRequest(render_id=render_id))
    )
    _finish(settings, found, output, stream, cancel_on_interrupt=False)


@click.command()
@click.argument("render_id", metavar="ID")
@client_options
def cancel(settings: Settings, render_id: str) -> None:
    """Cancel a render. One that has ended stays as it is."""
    found = run_with(settings, lambda client: _cancel(client, render_id))
    click.echo(f"{found.id} is {found.status}")


@click.command()
@click.option("--status", default="", help="Keep renders with this status, for example running.")
@click.option("--model", default="", help="Keep renders of this model.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100), help="How many to list.")
@json_option
@client_options
def renders(settings: Settings, status: str, model: str, limit: int, as_json: bool) -> None:
    """List the newest renders."""
    request = ListRendersRequest(status=status, model=model, page_size=limit)
    found = run_with(settings, lambda client: client.call(client.renders.ListRenders, request))
    if as_json:
        words.show_json(found)
        return
    rows = [
        [
            one.id,
            one.slug,
            one.status if one.status == one.phase or one.status != "running" else f"running: {one.phase}",
            f"{one.progress.fraction:.0%}",
            words.target(one.target),
            words.measured_ms(one.timing, "total_ms"),
            words.moment(one.created_at),
        ]
        for one in found.renders
    ]
    columns = ["ID", "MODEL", "STATUS", ">DONE", "TARGET", ">TOOK", "ACCEPTED"]
    words.show_table(words.stdout_console(), columns, rows, empty="there are no renders")


def _finish(
    settings: Settings, accepted: Render, output: Path | None, stream: Path | None, *, cancel_on_interrupt: bool
) -> None:
    """Watch a render to its end, fetch its video, and say how it went. CommandFailed unless it succeeded."""
    console = Console(stderr=True)
    try:
        ended = run_with(settings, lambda client: _watch(client, accepted, console, stream))
        if ended.status == "succeeded" and output:
            run_with(settings, lambda client: download(client, ended, output))
    except KeyboardInterrupt:
        _interrupted(settings, accepted.id, cancel=cancel_on_interrupt)
        raise click.exceptions.Exit(_INTERRUPTED) from None
    for warning in ended.warnings:
        console.print(Text(f"warning: {warning}", style="yellow"))
    if ended.status != "succeeded":
        raise _unsuccessful(ended)
    click.echo(words.outcome(ended), err=True)
    if output:
        click.echo(output, err=stream == STANDARD_OUTPUT)


async def _watch(client: Client, accepted: Render, console: Console, stream: Path | None) -> Render:
    told_where = stream == STANDARD_OUTPUT
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(LiveVideo(client, accepted.id, stream)) if stream else None
        view = stack.enter_context(progress_view(accepted.slug, console))
        events = await stack.enter_async_context(aclosing(follow(client, accepted.id)))
        async for event in events:
            if playable_of(event) is not None and not told_where:
                where = stream or f"forge watch {accepted.id} --stream - | {PLAYER}"
                console.print(Text(f"the first frames can be played: {where}"), soft_wrap=True)
                told_where = True
            view.show(event)
            if live:
                live.hear(event)
        ended = await client.call(client.renders.GetRender, GetRenderRequest(render_id=accepted.id))
        if live:
            await (live.finish() if ended.status == "succeeded" else live.give_up())
    return ended


async def _cancel(client: Client, render_id: str) -> Render:
    return await client.call(client.renders.CancelRender, CancelRenderRequest(render_id=render_id))


def _interrupted(settings: Settings, render_id: str, *, cancel: bool) -> None:
    if cancel:
        found = run_with(settings, lambda client: _cancel(client, render_id))
        click.echo(f"{found.id} is {found.status}", err=True)
        return
    click.echo(f"{render_id} goes on without you.", err=True)
    click.echo(f"  look again with  forge watch {render_id}", err=True)
    click.echo(f"  or end it with   forge cancel {render_id}", err=True)


def _unsuccessful(ended: Render) -> CommandFailed:
    error = ended.error
    facts = [f"{error.message} (reason: {error.reason})"] if ended.HasField("error") else []
    if ended.trace_id:
        facts.append(f"trace: {ended.trace_id}")
    hints = ["the same request may succeed when tried again"] if error.retry else []
    return CommandFailed(f"{ended.id} {ended.status}", facts=facts, hints=hints)
