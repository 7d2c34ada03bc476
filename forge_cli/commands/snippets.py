"""forge snippets: text to copy for a model, its version and a target."""

import click
from forge.catalog.v1.catalog_service_pb2 import GetSnippetsRequest

from forge_cli import words
from forge_cli.client import run_with
from forge_cli.completing import a_model
from forge_cli.options import client_options, gpu_type_option, json_option, region_option, version_option
from forge_cli.settings import Settings


@click.command()
@click.argument("slug", shell_complete=a_model)
@click.option("--kind", default="", help="Print the text of this kind and nothing else. [default: list the kinds]")
@version_option
@gpu_type_option
@region_option
@click.option("--base-url", metavar="URL", help="Address to write into it. [default: the one this command talks to]")
@json_option
@client_options
def snippets(
    settings: Settings,
    slug: str,
    kind: str,
    version: str,
    gpu_type: str,
    region: str,
    base_url: str | None,
    as_json: bool,
) -> None:
    """Show text to copy: settings, checks, requests in several languages, deployments.

    It can be run as it is: forge snippets SLUG --kind check | bash. It never holds a key, but reads FORGE_API_KEY.
    """
    request = GetSnippetsRequest(
        slug=slug,
        model_version=version,
        gpu_type=gpu_type,
        region=region,
        kind=kind,
        base_url=settings.api_base if base_url is None else base_url,
    )
    found = run_with(settings, lambda client: client.call(client.catalog.GetSnippets, request))
    if as_json:
        words.show_json(found)
    elif kind:
        for snippet in found.snippets:
            click.echo(snippet.text, nl=False)
    else:
        rows = [[snippet.kind, snippet.title, snippet.language, snippet.filename] for snippet in found.snippets]
        words.show_table(words.stdout_console(), ["KIND", "TITLE", "LANGUAGE", "FILE"], rows, empty="no snippets")
