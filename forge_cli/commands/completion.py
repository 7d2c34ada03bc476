"""forge completion: the script that lets a shell complete this command."""

import click
from click.shell_completion import get_completion_class

_PROGRAM = "forge"
_VARIABLE = "_FORGE_COMPLETE"
_HOW_TO_INSTALL = {
    "bash": "source <(forge completion bash)    in ~/.bashrc, or once and for all users:\n"
    "#   forge completion bash > /etc/bash_completion.d/forge",
    "zsh": "source <(forge completion zsh)    in ~/.zshrc, after compinit",
    "fish": "forge completion fish > ~/.config/fish/completions/forge.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(_HOW_TO_INSTALL)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script for bash, zsh or fish that completes commands, options, and what the platform has.

    Models, recent renders, probes, keys, webhooks and targets are asked for while you type, for a second at most; where
    no platform answers there is nothing to choose from.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this release of click cannot complete in {shell}")
    # Not through its `source`, which for bash asks the one on this machine: the script may be for another.
    made = kind(ctx.find_root().command, {}, _PROGRAM, _VARIABLE)
    script = made.source_template % made.source_vars()
    head, line = "", script
    if script.startswith("#compdef"):  # zsh looks for this in the first line
        head, _, line = script.partition("\n")
        head += "\n"
    click.echo(f"{head}# To install: {_HOW_TO_INSTALL[shell]}\n\n{line.strip()}")
