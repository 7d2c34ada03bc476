"""The `forge` command: serve video models, and be a client of them."""

import os
from importlib.metadata import version

import click

from forge_cli.commands.catalogue import catalogue
from forge_cli.commands.demo import demo
from forge_cli.commands.estimate import estimate
from forge_cli.commands.going_on import branch, continue_paused, retry
from forge_cli.commands.keys import keys
from forge_cli.commands.models import model, models
from forge_cli.commands.money import prices, receipt, usage
from forge_cli.commands.probes import probe, probes
from forge_cli.commands.renders import cancel, render, renders, watch
from forge_cli.commands.runtimes import capacity, runtimes, stop
from forge_cli.commands.snippets import snippets
from forge_cli.commands.start import start
from forge_cli.commands.targets import targets
from forge_cli.commands.up import up
from forge_cli.commands.webhooks import webhooks
from forge_cli.commands.why import why


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("forge-platform"), prog_name="forge")
def forge() -> None:
    """Serve video-generation models on GPUs you own, and render with them.

    `forge up` runs the platform; the other commands talk to it, here or at --api-base / FORGE_API_BASE, with the key of
    --api-key / FORGE_API_KEY or of $FORGE_HOME/api-key.
    """


for command in (
    up,
    demo,
    models,
    model,
    targets,
    estimate,
    snippets,
    render,
    watch,
    why,
    continue_paused,
    branch,
    retry,
    cancel,
    renders,
    runtimes,
    start,
    stop,
    capacity,
    probe,
    probes,
    receipt,
    usage,
    prices,
    catalogue,
    webhooks,
    keys,
):
    forge.add_command(command)


def main() -> None:
    """Entry point of the installed command."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it would print its own lines into progress bars
    forge(prog_name="forge")


if __name__ == "__main__":
    main()
