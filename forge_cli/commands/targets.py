"""forge targets: how well a version runs on each target, as measured."""

import click
from forge.catalog.v1.catalog_service_pb2 import ListTargetsRequest
from rich.text import Text

from forge_cli import words
from forge_cli.client import run_with
from forge_cli.completing import a_model
from forge_cli.options import client_options, json_option, version_option, wide_option
from forge_cli.performance import show_performance
from forge_cli.settings import Settings


@click.command()
@click.argument("slug", shell_complete=a_model)
@version_option
@click.option(
    "--baseline", default="", metavar="GPU@REGION", help="Compare with this row. [default: the fastest of them]"
)
@wide_option
@json_option
@client_options
def targets(settings: Settings, slug: str, version: str, baseline: str, is_wide: bool, as_json: bool) -> None:
    """Show how fast, how reliable and how dear the example request is on each target.

    N counts the runs behind the model time. That is their median, over the bounds that the true one lies between with
    95 % confidence; so are the bounds of the success rate. Fill the table with: forge probe SLUG.
    """
    request = ListTargetsRequest(slug=slug, model_version=version, baseline=baseline)
    found = run_with(settings, lambda client: client.call(client.catalog.ListTargets, request))
    if as_json:
        words.show_json(found)
        return
    console = words.stdout_console()
    console.print(Text(f"{found.slug} {found.model_version}", style="bold"))
    show_performance(console, found, is_wide=is_wide)
