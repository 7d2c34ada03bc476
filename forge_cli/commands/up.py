"""forge up: the platform in the foreground until Ctrl-C."""

from __future__ import annotations  # the platform is imported late: who asks for help does not wait for it

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.text import Text

from forge_cli.home import Home
from forge_cli.logs import LogLine
from forge_cli.options import fleet_option, home_option, host_option, placer_option, schedulers_option
from forge_cli.signals import interruptible

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge_cli.stack import Stack, StackOptions

_LOG_EVERY_SECONDS = 0.15
_WATCH_EVERY_SECONDS = 0.6
_NAME_WIDTH = 16
_STYLES = {"WARN": "yellow", "ERROR": "red", "FATAL": "bold red"}


@click.command()
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 for any free one."
)
@home_option
@fleet_option
@host_option
@schedulers_option
@placer_option
@click.option("--verbose", is_flag=True, help="Show every log line, not only those that matter.")
def up(port: int, home: Path | None, fleet: str | None, host: str, schedulers: int, placer: str, verbose: bool) -> None:
    """Run the whole platform here until Ctrl-C."""
    from forge_cli.stack import StackOptions, fleet_named

    options = StackOptions(Home.at(home), host, port, fleet_named(fleet), schedulers, placer)
    run_platform(options, verbose=verbose, when_ready=_announce)


def run_platform(
    options: StackOptions, *, verbose: bool, when_ready: Callable[[Terminal, Stack, StackOptions], None]
) -> None:
    """Run the platform until somebody interrupts. `when_ready` is called once every service is up."""
    from forge_cli.stack import running_stack

    terminal = Terminal(Console(highlight=False), verbose=verbose)
    try:
        with interruptible(), running_stack(options, terminal.say) as stack:
            terminal.say(f"Starting Forge in {options.home.path} …")
            stack.wait_until_ready(terminal.show)
            when_ready(terminal, stack, options)
            _look_after(terminal, stack)
    except KeyboardInterrupt:
        terminal.say("Forge has stopped.")


class Terminal:
    """Where log lines and our own words go."""

    def __init__(self, console: Console, *, verbose: bool) -> None:
        self._console = console
        self._verbose = verbose

    def say(self, words: str, style: str = "") -> None:
        """Our own words."""
        self._console.print(Text(words, style=style), soft_wrap=True)

    def show(self, lines: list[LogLine]) -> None:
        """Log lines that matter, or all of them."""
        for line in lines:
            if self._verbose or line.is_important:
                self._console.print(log_text(line), soft_wrap=True)


def log_text(line: LogLine) -> Text:
    """A log line as it is shown: "scheduler        | INFO  message key=value"."""
    return Text.assemble(
        (f"{line.service:<{_NAME_WIDTH}} | ", "cyan"),
        (f"{line.level_name:<5} ", _STYLES.get(line.level_name, "dim")),
        line.text,
    )


def _announce(terminal: Terminal, stack: Stack, options: StackOptions) -> None:
    terminal.say(f"Forge is ready at {stack.base_url}  (fleet {options.fleet}, Ctrl-C stops it)", "bold green")
    if stack.first_key:
        terminal.say(f"Your API key, shown this once and kept in {options.home.api_key_file}:")
        terminal.say(f"    {stack.first_key}", "bold")
    terminal.say("Open the address in a browser and sign in with the key, or try:  forge models")


def _look_after(terminal: Terminal, stack: Stack) -> None:
    """Show what happens until somebody interrupts."""
    watched_at = time.monotonic()
    reported: set[str] = set()
    while True:
        terminal.show(stack.logs.poll())
        if time.monotonic() - watched_at >= _WATCH_EVERY_SECONDS:
            watched_at = time.monotonic()
            for name in stack.watch():
                if not stack.crashes_again_and_again(name):
                    reported.discard(name)
                    last = stack.logs.recent(name, 1)
                    words = f"; its last words: {last[0].text}" if last and not last[0].is_log else ""
                    terminal.say(f"{name} ended unexpectedly and is started again{words}", "yellow")
                elif name not in reported:
                    reported.add(name)
                    stack.crash_report(name).show()
        time.sleep(_LOG_EVERY_SECONDS)
