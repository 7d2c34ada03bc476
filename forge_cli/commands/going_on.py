"""forge retry, continue, branch: to go on with a render from where it stopped."""

import uuid
from pathlib import Path
from typing import Any

import click
from forge.catalog.v1.catalog_service_pb2 import GetInputSchemaRequest
from forge.scheduler.v1.render_pb2 import Render
from forge.scheduler.v1.render_service_pb2 import (
    BranchRenderRequest,
    ContinueRenderRequest,
    GetRenderRequest,
    RetryRenderRequest,
)
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from forge_cli.client import Client, run_with
from forge_cli.completing import a_paused_render, a_render
from forge_cli.inputs import build_inputs
from forge_cli.options import client_options, image_option, parameter_option, pause_option, wishes_options
from forge_cli.seeing_through import Wanted, deliver, wanted_options
from forge_cli.settings import Settings


@click.command()
@click.argument("render_id", metavar="ID", shell_complete=a_render)
@wanted_options
@client_options
def retry(settings: Settings, render_id: str, wanted: Wanted) -> None:
    """Try a render again that failed, expired or was canceled, from its newest checkpoint where there is one.

    It becomes a new render with the same inputs, which is watched and fetched as forge render does.
    """
    request = RetryRenderRequest(render_id=render_id)
    accepted = run_with(settings, lambda client: client.call(client.renders.RetryRender, request))
    deliver(settings, accepted, wanted)


@click.command("continue")
@click.argument("render_id", metavar="ID", shell_complete=a_paused_render)
@pause_option
@wanted_options
@client_options
def continue_paused(settings: Settings, render_id: str, pause_after_step: int | None, wanted: Wanted) -> None:
    """Let a paused render go on, and watch and fetch it as forge render does."""
    request = ContinueRenderRequest(render_id=render_id, pause_after_step=pause_after_step or 0)
    going_on = run_with(settings, lambda client: client.call(client.renders.ContinueRender, request))
    # What happened before the pause was shown then.
    deliver(settings, going_on, wanted, after_seq=max(0, going_on.last_seq - 1))


@click.command()
@click.argument("render_id", metavar="ID", shell_complete=a_paused_render)
@parameter_option
@image_option
@wanted_options
@wishes_options
@client_options
def branch(
    settings: Settings,
    render_id: str,
    parameters: tuple[str, ...],
    image: Path | None,
    wanted: Wanted,
    wishes: dict[str, Any],
) -> None:
    """Go on from a paused render in another direction, for example: forge branch ID -p prompt="a dog".

    It becomes a new render from the same step with the inputs that you give changed; the paused one stays as it is.
    """

    async def accept(client: Client) -> Render:
        paused = await client.call(client.renders.GetRender, GetRenderRequest(render_id=render_id))
        question = GetInputSchemaRequest(slug=paused.slug, model_version=paused.model_version)
        inputs = await client.call(client.catalog.GetInputSchema, question)
        schema = json_format.MessageToDict(inputs.schema)
        changes = build_inputs(schema, parameters, image, slug=paused.slug, is_whole=False) | wishes
        changes.setdefault("request_id", str(uuid.uuid4()))
        struct = Struct()
        struct.update(changes)
        request = BranchRenderRequest(render_id=render_id, input=struct)
        return await client.call(client.renders.BranchRender, request)

    deliver(settings, run_with(settings, accept), wanted)
