"""The command as a whole: every way in which one of its commands ends badly, in one form."""

import errno
import os
import sys
from contextlib import suppress
from typing import Any

import click

from forge_cli import exits
from forge_cli.failures import CommandFailed, InJson

_JSON = "forge_cli.asks_for_json"
_CANCELLED = 1
_RESOURCE_EXHAUSTED = 8
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_IN_THE_WAY = _FULL | {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE}


class Root(click.Group):
    """A group whose commands fail in words, or with --json as a google.rpc.Status on stderr, also when used wrongly."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note whether a program asks, before anything can be wrong with the arguments."""
        options = args[: args.index("--")] if "--" in args else args
        ctx.meta[_JSON] = "--json" in options
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        failure: click.ClickException
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            failure = CommandFailed("interrupted", code=_CANCELLED, exit_code=exits.INTERRUPTED)
        except BrokenPipeError:
            _forget_the_reader()
            raise click.exceptions.Exit(0) from None
        except click.ClickException as error:
            failure = error
        except OSError as error:
            if error.errno not in _IN_THE_WAY:
                raise
            failure = _in_words(error)
        raise InJson(failure) if ctx.meta[_JSON] else failure


def _forget_the_reader() -> None:
    """A reader that has seen enough, as in `forge models | head`, is no failure, and gets no more."""
    with suppress(OSError):  # an output that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _in_words(error: OSError) -> CommandFailed:
    """What this machine refused."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in _FULL:
        return CommandFailed(
            f"{where}{error.strerror}",
            hints=["make room there, or write to another place"],
            code=_RESOURCE_EXHAUSTED,
        )
    return CommandFailed(f"{where}{error.strerror}")
