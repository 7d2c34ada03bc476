"""Seeing a render through on the terminal: progress, its video on disk, how it ended, and how to go on."""

import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click
from forge.scheduler.v1.render_pb2 import Render, RenderEvent
from forge.scheduler.v1.render_service_pb2 import CancelRenderRequest, GetRenderRequest
from rich.console import Console
from rich.text import Text

from forge_cli import exits, words
from forge_cli.client import Client, run_with
from forge_cli.failures import CommandFailed
from forge_cli.options import Command, json_option
from forge_cli.patience import PATIENCE_SECONDS, Patience
from forge_cli.progress import JsonLines, playable_of, progress_view
from forge_cli.settings import Settings
from forge_cli.streaming import PLAYER, STANDARD_OUTPUT, LiveVideo
from forge_cli.videos import download, download_preview
from forge_cli.watching import follow

_CANCELLED, _ABORTED = 1, 10  # of google.rpc.Code


@dataclass(frozen=True)
class Wanted:
    """What somebody wants of a render: its finished video in `output`, its growing one in `stream`, or only its id.

    A program gets the render as JSON, as it is at the end, or each event as a line of JSON.
    """

    output: Path | None
    stream: Path | None
    is_detached: bool = False
    cancels_on_interrupt: bool = False
    as_json: bool = False
    as_json_lines: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError where two things want the standard output."""
        if self.is_for_programs and self.stream == STANDARD_OUTPUT:
            raise click.UsageError("--json and --stream - both want the standard output: give --stream a file")

    @property
    def is_for_programs(self) -> bool:
        """Whether people hear nothing."""
        return self.as_json or self.as_json_lines


def _not_to_a_terminal(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    if path == STANDARD_OUTPUT and sys.stdout.isatty():
        raise click.BadParameter(f"a terminal shows no videos; pipe this into a player: … --stream - | {PLAYER}")
    return path


output_option = click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where the finished video goes."
)
stream_option = click.option(
    "--stream",
    metavar="FILE|-",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    callback=_not_to_a_terminal,
    help="Write the video here while it is made, to be played as it grows; - for a pipe to a player.",
)


def wanted_options(command: Command) -> Command:
    """Adds -o, --stream, --detach, --cancel-on-interrupt and --json; the command gets `wanted: Wanted` instead."""

    @output_option
    @stream_option
    @click.option("--detach", is_flag=True, help="Print the render's id and leave it running.")
    @click.option("--cancel-on-interrupt", is_flag=True, help="Let Ctrl-C cancel the render too.")
    @json_option
    @wraps(command)
    def with_wanted(
        *,
        output: Path | None,
        stream: Path | None,
        detach: bool,
        cancel_on_interrupt: bool,
        as_json: bool,
        **given: Any,
    ) -> Any:
        if detach and stream:
            raise click.UsageError(
                "--stream needs somebody who waits: leave out --detach, or stream later with forge watch"
            )
        return command(wanted=Wanted(output, stream, detach, cancel_on_interrupt, as_json), **given)

    return with_wanted  # pyright: ignore[reportReturnType] — the same command, with other parameters


def deliver(settings: Settings, accepted: Render, wanted: Wanted, *, after_seq: int = 0) -> None:
    """See a render through that was accepted just now, or only print its id where that is wanted.

    Where no place for its video is given, it goes into a file named after the render.
    """
    if wanted.is_detached:
        if wanted.as_json:
            words.show_json(accepted)
        else:
            click.echo(accepted.id)
        return
    if not (wanted.output or wanted.stream):
        wanted = replace(wanted, output=Path(f"{accepted.id}.mp4"))
    see_through(settings, accepted, wanted, after_seq=after_seq)


def see_through(settings: Settings, accepted: Render, wanted: Wanted, *, after_seq: int = 0) -> None:
    """Watch a render from after an event to its end or its pause, fetch its video or preview, and say how it went.

    Raises CommandFailed for one that ended without a video and after Ctrl-C, and Exit for one that has paused.
    """
    console = Console(stderr=True, quiet=wanted.is_for_programs)
    try:
        seen = run_with(settings, lambda client: _watch(client, accepted, console, wanted, after_seq))
        fetched = run_with(settings, lambda client: _fetch(client, seen, wanted.output, console))
    except KeyboardInterrupt:
        _interrupted(settings, accepted.id, wanted)
        raise click.exceptions.Exit(exits.INTERRUPTED) from None
    if wanted.is_for_programs:
        _show_to_program(seen, wanted)
        return
    for warning in seen.warnings:
        console.print(Text(f"warning: {warning}", style="yellow"))
    if seen.status == "paused":
        _tell_how_to_go_on(seen)
    elif seen.status == "succeeded":
        click.echo(words.outcome(seen), err=True)
    else:
        raise _unsuccessful(seen)
    if fetched:
        click.echo(fetched, err=wanted.stream == STANDARD_OUTPUT)
    if seen.status == "paused":
        raise click.exceptions.Exit(exits.PAUSED)


def _show_to_program(seen: Render, wanted: Wanted) -> None:
    if wanted.as_json:
        words.show_json(seen)
    if seen.status == "paused":
        raise click.exceptions.Exit(exits.PAUSED)
    if seen.status != "succeeded":
        raise _unsuccessful(seen)


async def _watch(client: Client, accepted: Render, console: Console, wanted: Wanted, after_seq: int) -> Render:
    """The render when it has ended or is paused; its progress is shown meanwhile."""

    def say(text: str) -> None:
        console.print(Text(text), soft_wrap=True)

    async with AsyncExitStack() as stack:
        live = None
        if stream := wanted.stream:
            live = await stack.enter_async_context(LiveVideo(client, accepted.id, stream, Patience(say)))
        view = JsonLines() if wanted.as_json_lines else stack.enter_context(progress_view(accepted.slug, console))
        remarks = _Remarks(client, accepted.id, stream, say)
        events = follow(client, accepted.id, Patience(say), after_seq=after_seq)
        async for event in await stack.enter_async_context(aclosing(events)):
            view.show(event, resumed_steps=await remarks.on(event))
            if live:
                live.hear(event)
            # One that was paused long ago may go on already.
            if event.status == "paused" and (await _look_at(client, accepted.id)).status == "paused":
                break
        seen = await _look_at(client, accepted.id)
        if live:
            await (live.finish() if seen.status == "succeeded" else live.give_up())
    return seen


async def _look_at(client: Client, render_id: str) -> Render:
    request = GetRenderRequest(render_id=render_id)
    return await client.call(client.renders.GetRender, request, retry_seconds=PATIENCE_SECONDS)


class _Remarks:
    """What a watcher hears beside the progress, each thing once."""

    def __init__(self, client: Client, render_id: str, stream: Path | None, say: Callable[[str], None]) -> None:
        self._client = client
        self._render_id = render_id
        self._stream = stream
        self._say = say
        self._said_where_to_play = stream == STANDARD_OUTPUT
        self._said_why_it_waits = False
        self._resumed_steps: dict[int, int] = {}
        """By attempt, as far as asked."""

    async def on(self, event: RenderEvent) -> int:
        """Say what the event gives reason to; returns the steps that a checkpoint spared its attempt."""
        if playable_of(event) is not None and not self._said_where_to_play:
            self._said_where_to_play = True
            where = self._stream or f"forge watch {self._render_id} --stream - | {PLAYER}"
            self._say(f"the first frames can be played: {where}")
        if event.status != "queued":
            self._said_why_it_waits = False  # it may come to wait again
        elif not self._said_why_it_waits:
            found = await self._look()
            if found.status == "queued" and found.explanation:
                self._said_why_it_waits = True
                self._say(found.explanation)
        if event.attempt > 1 and event.progress.total_steps and event.attempt not in self._resumed_steps:
            tries = (await self._look()).attempts
            self._resumed_steps[event.attempt] = 0
            self._resumed_steps |= {one.attempt: one.resumed_steps for one in tries}
        return self._resumed_steps.get(event.attempt, 0)

    async def _look(self) -> Render:
        """The render as it stands; an empty one when nobody answers: a remark is not worth waiting for."""
        with suppress(CommandFailed):
            request = GetRenderRequest(render_id=self._render_id)
            return await self._client.call(self._client.renders.GetRender, request, retry_seconds=0)
        return Render()


async def _fetch(client: Client, seen: Render, output: Path | None, console: Console) -> Path | None:
    """The file that the video or, of a paused render, the preview was written to."""
    if output is None:
        return None
    if seen.status == "succeeded":
        await download(client, seen, output, Patience(lambda text: console.print(Text(text), soft_wrap=True)))
        return output
    if seen.status == "paused" and seen.preview_url:
        preview = output.with_suffix(".preview.webp")
        await download_preview(client, seen, preview)
        return preview
    return None


def _interrupted(settings: Settings, render_id: str, wanted: Wanted) -> None:
    if wanted.cancels_on_interrupt:
        request = CancelRenderRequest(render_id=render_id)
        found = run_with(settings, lambda client: client.call(client.renders.CancelRender, request))
        if wanted.as_json:
            words.show_json(found)
        elif not wanted.as_json_lines:
            click.echo(f"{found.id} is {found.status}", err=True)
        return
    if wanted.is_for_programs:
        hints = [f"look again with: forge watch {render_id}", f"or end it with: forge cancel {render_id}"]
        raise CommandFailed(
            f"{render_id} goes on without you", hints=hints, code=_CANCELLED, exit_code=exits.INTERRUPTED
        )
    click.echo(f"{render_id} goes on without you.", err=True)
    click.echo(f"  look again with  forge watch {render_id}", err=True)
    click.echo(f"  or end it with   forge cancel {render_id}", err=True)


def _tell_how_to_go_on(paused: Render) -> None:
    progress = paused.progress
    after = f" after step {progress.done_steps} of {progress.total_steps}" if progress.total_steps else ""
    until = f" until {words.moment(paused.expires_at)}" if paused.HasField("expires_at") else ""
    click.echo(f"{paused.id} is paused{after} and waits for you{until}.", err=True)
    click.echo(f"  go on with it    forge continue {paused.id}", err=True)
    click.echo(f"  go another way   forge branch {paused.id} -p prompt=…", err=True)
    click.echo(f"  or drop it       forge cancel {paused.id}", err=True)


def _unsuccessful(ended: Render) -> CommandFailed:
    error = ended.error
    facts = [f"{error.message} (reason: {error.reason})"] if ended.HasField("error") else []
    if ended.trace_id:
        facts.append(f"trace: {ended.trace_id}")
    hints = ["the same request may succeed when tried again"] if error.retry else []
    hints.append(f"try it again, from its last checkpoint where there is one: forge retry {ended.id}")
    return CommandFailed(f"{ended.id} {ended.status}", facts=facts, hints=hints, code=_ABORTED)
