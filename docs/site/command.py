"""The page of the `forge` command, made of its own help."""

import re
from collections.abc import Iterator

import click

from docs.site.markdown import said, table
from forge_cli.__main__ import forge


def command_page() -> str:
    """Every command with its arguments and options."""
    head = "# The forge command\n"
    return "\n".join([head, *_command(forge, "forge", None)])


def _command(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    if parent is not None:
        yield f"## {context.command_path}\n"
    yield f"`{context.command_path} {' '.join(command.collect_usage_pieces(context))}`\n"
    yield f"{_help(command)}\n"
    records = [found for parameter in command.params if (found := parameter.get_help_record(context)) and found[1]]
    yield table(("Option", "What it does"), ((f"`{_one_line(name)}`", said(text)) for name, text in records))
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            if found is not None and not found.hidden:
                yield from _command(found, each, context)


def _help(command: click.Command) -> str:
    """What a command says of itself; what it lists line by line stays as it is."""
    text = (command.help or "").partition("\f")[0]
    parts = [part for part in text.strip().split("\n\n") if part.strip()]
    return "\n\n".join(_part(part) for part in parts)


def _part(part: str) -> str:
    if part.startswith("\b"):
        return f"```text\n{part.removeprefix(chr(8)).strip(chr(10))}\n```"
    return said(part)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
