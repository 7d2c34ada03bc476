"""The `forge` command: serve video models, and be a client of them."""

import os

import click

from forge_cli.lazy_commands import LazyCommands
from forge_cli.root import Root

_COMMANDS = {
    "up": "up:up",
    "demo": "demo:demo",
    "doctor": "doctor:doctor",
    "models": "models:models",
    "model": "models:model",
    "targets": "targets:targets",
    "estimate": "estimate:estimate",
    "snippets": "snippets:snippets",
    "render": "renders:render",
    "watch": "renders:watch",
    "why": "why:why",
    "trace": "trace:trace",
    "continue": "going_on:continue_paused",
    "branch": "going_on:branch",
    "retry": "going_on:retry",
    "cancel": "renders:cancel",
    "renders": "renders:renders",
    "runtimes": "runtimes:runtimes",
    "start": "start:start",
    "stop": "runtimes:stop",
    "capacity": "runtimes:capacity",
    "probe": "probes:probe",
    "probes": "probes:probes",
    "upload": "uploads:upload",
    "uploads": "uploads:uploads",
    "receipt": "money:receipt",
    "usage": "money:usage",
    "prices": "money:prices",
    "catalogue": "catalogue:catalogue",
    "webhooks": "webhooks:webhooks",
    "keys": "keys:keys",
    "audit": "audit:audit",
    "accounts": "accounts:accounts",
    "migrate": "migrate:migrate",
    "edge": "edge:edge",
    "endpoint": "endpoint:endpoint",
    "completion": "completion:completion",
    "version": "version:version",
}
"""Each command's place below forge_cli.commands."""


def _show_release(ctx: click.Context, _option: click.Parameter, is_wanted: bool) -> None:
    if is_wanted and not ctx.resilient_parsing:
        from forge_cli.release import this_release  # only here: asking for the commit takes a moment

        click.echo(f"forge {this_release()}")
        ctx.exit()


@click.group(
    cls=Root,
    commands=LazyCommands(_COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_release, help="Show the release."
)
def forge() -> None:
    """Serve video-generation models on GPUs you own, and render with them.

    `forge up` runs the platform; the other commands talk to it, here or at --api-base / FORGE_API_BASE, with the key of
    --api-key / FORGE_API_KEY or of $FORGE_HOME/api-key. `forge doctor` says what is missing on this machine.
    """


def main() -> None:
    """Entry point of the installed command."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it would print its own lines into progress bars
    forge(prog_name="forge")


if __name__ == "__main__":
    main()
