"""forge endpoint: one model on one port, behind one token."""

from __future__ import annotations  # the platform is imported late: who asks for help does not wait for it

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from forge_cli.commands.up import Terminal, run_platform
from forge_cli.completing import a_model
from forge_cli.failures import CommandFailed
from forge_cli.home import Home
from forge_cli.options import fleet_option, home_option

if TYPE_CHECKING:
    from forge_cli.stack import Stack, StackOptions

_DEFAULTS = {"FORGE_ALLOWED_HOSTS": "*", "FORGE_PUBLIC_CATALOGUE": "false"}
"""An endpoint does not know by which name it is reached, and shows nothing to strangers."""
_START_SECONDS = 3600.0


@click.command()
@click.argument("slug", envvar="FORGE_ENDPOINT_MODEL", shell_complete=a_model)
@click.option(
    "--version", default="", envvar="FORGE_ENDPOINT_VERSION", help="What is kept warm of it. [default: the model's]"
)
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 for any free one."
)
@click.option("--host", default="0.0.0.0", show_default=True, help="Address to listen on.")  # noqa: S104 — its purpose
@fleet_option
@home_option
@click.option("--verbose", is_flag=True, help="Show every log line, not only those that matter.")
def endpoint(
    slug: str, version: str, port: int, host: str, fleet: str | None, home: Path | None, verbose: bool
) -> None:
    """Serve the model SLUG alone, and keep it warm, for whoever has the token.

    The token is FORGE_ENDPOINT_TOKEN, a secret of your choice; requests carry it as "Authorization: Bearer …". SLUG and
    the version may also be FORGE_ENDPOINT_MODEL and FORGE_ENDPOINT_VERSION. All else is as with forge up, but that no
    other model is there.
    """
    from forge_cli.stack import StackOptions, fleet_named

    if not os.environ.get("FORGE_ENDPOINT_TOKEN"):
        raise CommandFailed(
            "FORGE_ENDPOINT_TOKEN is not set: nobody could use the endpoint",
            hints=["choose one, and give it to those who may: openssl rand -hex 32"],
        )
    os.environ.update({**_DEFAULTS, **os.environ, "FORGE_MODELS": slug})  # nothing else runs in this process
    options = StackOptions(Home.at(home), host, port, fleet_named(fleet))

    def warm_up(terminal: Terminal, stack: Stack, options: StackOptions) -> None:
        terminal.say(f"{slug} is served at {stack.base_url} for whoever has the token", "bold green")
        start = threading.Thread(target=_keep_warm, args=(terminal, options.home, slug, version), daemon=True)
        start.start()

    run_platform(options, verbose=verbose, when_ready=warm_up)


def _keep_warm(terminal: Terminal, home: Home, slug: str, version: str) -> None:
    """Start the model, to stay; say how that went."""
    from forge.scheduler.v1.runtime_service_pb2 import StartRuntimeRequest

    from forge_cli.client import run_with
    from forge_cli.settings import load

    request = StartRuntimeRequest(slug=slug, version=version, run_until_stopped=True)
    try:
        found = run_with(
            load(home),
            lambda client: client.call(client.runtimes.StartRuntime, request, timeout_seconds=_START_SECONDS),
        )
    except CommandFailed as failed:
        terminal.say(f"{slug} did not become warm: {failed.message}; the first request tries again", "yellow")
    else:
        terminal.say(f"{found.slug} {found.version} is warm and stays so")
