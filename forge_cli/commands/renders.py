"""forge render, watch, cancel, renders: from a wish to a video on disk."""

import uuid
from pathlib import Path
from typing import Any

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

from forge_cli import words
from forge_cli.client import Client, run_with
from forge_cli.completing import a_model, a_render
from forge_cli.inputs import build_inputs
from forge_cli.options import (
    client_options,
    finish_within_option,
    gpu_type_option,
    image_option,
    json_option,
    parameter_option,
    region_option,
    version_option,
    wishes_options,
)
from forge_cli.seeing_through import Wanted, deliver, output_option, see_through, stream_option, wanted_options
from forge_cli.sending import sent_if_large
from forge_cli.settings import Settings


@click.command()
@click.argument("slug", shell_complete=a_model)
@parameter_option
@image_option
@wanted_options
@version_option
@gpu_type_option
@region_option
@finish_within_option
@wishes_options
@client_options
def render(
    settings: Settings,
    slug: str,
    parameters: tuple[str, ...],
    image: Path | None,
    wanted: Wanted,
    version: str,
    gpu_type: str,
    region: str,
    finish_within_seconds: float | None,
    wishes: dict[str, Any],
) -> None:
    """Render a video with the model SLUG and fetch it. See its inputs with: forge model SLUG.

    Without -o and --stream the finished video goes into a file named after the render. The exit status is 0 when it is
    there, 3 when the render has paused as asked, 130 after Ctrl-C, and 1 when it will not come. With --json the render
    is printed once it has ended or paused.
    """
    pins = {"model_version": version, "gpu_type": gpu_type, "region": region}

    async def accept(client: Client) -> Render:
        request = GetInputSchemaRequest(slug=slug, model_version=version)
        inputs = await client.call(client.catalog.GetInputSchema, request)
        schema = json_format.MessageToDict(inputs.schema)
        body = build_inputs(schema, parameters, await sent_if_large(client, image), slug=slug)
        body |= {"model": slug, **{name: value for name, value in pins.items() if value}, **wishes}
        if finish_within_seconds:
            body["finish_within_seconds"] = finish_within_seconds
        body.setdefault("request_id", str(uuid.uuid4()))
        body.setdefault("model_version", inputs.model_version)
        struct = Struct()
        struct.update(body)
        return await client.call(client.renders.CreateRender, CreateRenderRequest(input=struct))

    deliver(settings, run_with(settings, accept), wanted)


@click.command()
@click.argument("render_id", metavar="ID", shell_complete=a_render)
@output_option
@stream_option
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON, from the first one on.")
@client_options
def watch(settings: Settings, render_id: str, output: Path | None, stream: Path | None, as_json: bool) -> None:
    """Watch a render to its end; with --stream play its video meanwhile, with -o fetch it then.

    The exit status is that of forge render.
    """
    wanted = Wanted(output, stream, as_json_lines=as_json)
    found = run_with(
        settings, lambda client: client.call(client.renders.GetRender, GetRenderRequest(render_id=render_id))
    )
    see_through(settings, found, wanted)


@click.command()
@click.argument("render_id", metavar="ID", shell_complete=a_render)
@json_option
@client_options
def cancel(settings: Settings, render_id: str, as_json: bool) -> None:
    """Cancel a render, also a paused one. One that has ended stays as it is."""
    request = CancelRenderRequest(render_id=render_id)
    found = run_with(settings, lambda client: client.call(client.renders.CancelRender, request))
    if as_json:
        words.show_json(found)
        return
    click.echo(f"{found.id} is {found.status}")


@click.command()
@click.option("--status", default="", help="Keep renders with this status, for example running.")
@click.option("--model", default="", shell_complete=a_model, help="Keep renders of this model.")
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
