"""forge upload, uploads: images sent beforehand, to be named in any number of renders."""

from pathlib import Path

import click
from forge.scheduler.v1.upload_service_pb2 import DeleteUploadRequest, ListUploadsRequest

from forge_cli import sending, words
from forge_cli.client import run_with
from forge_cli.completing import an_upload
from forge_cli.options import client_options, json_option
from forge_cli.settings import Settings


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@client_options
def upload(settings: Settings, file: Path, as_json: bool) -> None:
    """Send the image FILE beforehand, and print what renders name it by: forge render MODEL -p image=URI.

    It is kept for a day, unless the installation says otherwise. A render that was accepted needs it no longer.
    """
    kept = run_with(settings, lambda client: sending.upload(client, file))
    if as_json:
        words.show_json(kept)
        return
    facts = f"{kept.width}×{kept.height}, {words.size(kept.size_bytes)}"
    click.echo(f"kept until {words.moment(kept.expires_at)}: {facts}", err=True)
    click.echo(kept.uri)


@click.group(invoke_without_command=True)
@json_option
@client_options
@click.pass_context
def uploads(context: click.Context, settings: Settings, as_json: bool) -> None:
    """List the account's uploads, or delete one."""
    if context.invoked_subcommand:
        return
    found = run_with(settings, lambda client: client.call(client.uploads.ListUploads, ListUploadsRequest()))
    if as_json:
        words.show_json(found)
        return
    rows = [
        [one.id, one.media_type, f"{one.width}×{one.height}", words.size(one.size_bytes), words.moment(one.expires_at)]
        for one in found.uploads
    ]
    columns = ["ID", "KIND", ">PIXELS", ">SIZE", "KEPT UNTIL"]
    words.show_table(words.stdout_console(), columns, rows, empty="there are no uploads")


@uploads.command()
@click.argument("upload_id", metavar="ID", shell_complete=an_upload)
@json_option
@client_options
def delete(settings: Settings, upload_id: str, as_json: bool) -> None:
    """Remove an upload before it expires."""
    request = DeleteUploadRequest(upload_id=upload_id)
    found = run_with(settings, lambda client: client.call(client.uploads.DeleteUpload, request))
    if as_json:
        words.show_json(found)
        return
    click.echo(f"{upload_id} is gone")
