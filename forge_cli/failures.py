"""The command's expected failures, as they show on the terminal."""

from collections.abc import Iterable
from typing import IO, Any

import click


class CommandFailed(click.ClickException):
    """An expected failure: a message, facts below it, and what to do about it. It never shows a traceback."""

    def __init__(self, message: str, *, facts: Iterable[str] = (), hints: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.facts = tuple(facts)
        self.hints = tuple(hints)

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it to stderr."""
        click.echo(f"{click.style('Error:', fg='red', bold=True)} {plain(self.message)}", err=True, file=file)
        for fact in self.facts:
            click.echo(f"  {plain(fact)}", err=True, file=file)
        for hint in self.hints:
            click.echo(f"{click.style('Hint:', fg='cyan')} {plain(hint)}", err=True, file=file)


def plain(text: str) -> str:
    """Text without control characters: what a server says must not steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
