"""The command's expected failures, as they show on the terminal and as programs read them."""

import json
import os
from collections.abc import Iterable
from typing import IO, Any

import click

from forge_cli import exits

INVALID_ARGUMENT = 3
FAILED_PRECONDITION = 9
_HELP = "type.googleapis.com/google.rpc.Help"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


class CommandFailed(click.ClickException):
    """An expected failure: a message, facts below it, and what to do about it. It never shows a traceback.

    `code` is the google.rpc.Code that programs are told.
    """

    def __init__(
        self,
        message: str,
        *,
        facts: Iterable[str] = (),
        hints: Iterable[str] = (),
        code: int = FAILED_PRECONDITION,
        exit_code: int = exits.FAILED,
    ) -> None:
        super().__init__(message)
        self.facts = tuple(facts)
        self.hints = tuple(hints)
        self.code = code
        self.exit_code = exit_code  # pyright: ignore[reportAttributeAccessIssue] — click has one for each class

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it to stderr."""
        color = False if os.environ.get("NO_COLOR") else None
        lines = [f"{click.style('Error:', fg='red', bold=True)} {plain(self.message)}"]
        lines += [f"  {plain(fact)}" for fact in self.facts]
        lines += [f"{click.style('Hint:', fg='cyan')} {plain(hint)}" for hint in self.hints]
        for line in lines:
            click.echo(line, err=True, file=file, color=color)

    def as_status(self) -> dict[str, Any]:
        """The failure as a google.rpc.Status in JSON. What to do about it is in a google.rpc.Help."""
        if self.code != INVALID_ARGUMENT:
            return {"code": self.code, "message": "; ".join([self.message, *self.facts]), "details": self.help}
        violations = [{"@type": _BAD_REQUEST, "field_violations": [{"description": fact} for fact in self.facts]}]
        return {"code": self.code, "message": self.message, "details": [*violations[: len(self.facts)], *self.help]}

    @property
    def help(self) -> list[dict[str, Any]]:
        """The hints as a detail of a status; nothing where there are none."""
        return [{"@type": _HELP, "links": [{"description": hint} for hint in self.hints]}] if self.hints else []


class InJson(click.ClickException):
    """A failure, told to a program: one google.rpc.Status on stderr."""

    def __init__(self, failure: click.ClickException) -> None:
        super().__init__(failure.format_message())
        self.exit_code = failure.exit_code  # pyright: ignore[reportAttributeAccessIssue] — as above
        self._failure = failure

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it."""
        told = self._failure
        if isinstance(told, CommandFailed):
            status = told.as_status()
        else:
            code = INVALID_ARGUMENT if isinstance(told, click.UsageError) else FAILED_PRECONDITION
            status = {"code": code, "message": told.format_message(), "details": []}
        click.echo(json.dumps(status, indent=2, ensure_ascii=False), err=True, file=file)


def plain(text: str) -> str:
    """Text without control characters: what a server says must not steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
