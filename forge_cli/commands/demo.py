"""forge demo: from nothing to the videos of both example requests, over REST, and back to nothing."""

from __future__ import annotations  # the platform is imported late: who asks for help does not wait for it

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from forge.scheduler.v1.render_pb2 import Render
from rich.console import Console
from rich.table import Table
from rich.text import Text

from forge_cli import exits, words
from forge_cli.commands.up import log_text
from forge_cli.failures import CommandFailed
from forge_cli.home import Home
from forge_cli.options import fleet_option, home_option
from forge_cli.progress import progress_view
from forge_cli.settings import load
from forge_cli.signals import interruptible

if TYPE_CHECKING:
    from forge_cli.stack import Stack, StackOptions

_SLUGS = ("stabilityai-stable-video-diffusion", "skywork-skyreels-v2")


@dataclass(frozen=True)
class Result:
    """A finished render and where its video and contact sheet are."""

    render: Render
    video: Path
    sheet: Path


@click.command()
@home_option
@click.option(
    "--out", default="out", show_default=True, type=click.Path(file_okay=False, path_type=Path), help="Where videos go."
)
@fleet_option
@click.option("--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 for any free one.")
@click.option("--model", "slugs", multiple=True, default=_SLUGS, show_default=True, help="Whose example to render.")
def demo(home: Path | None, out: Path, fleet: str | None, port: int, slugs: tuple[str, ...]) -> None:
    """Bring the platform up, render the models' example requests, and stop it again."""
    from forge_cli.stack import StackOptions, fleet_named, running_stack

    console = words.stdout_console()
    options = StackOptions(Home.at(home), "127.0.0.1", port, fleet_named(fleet, default="pages"))
    try:
        with interruptible(), running_stack(options) as stack:
            with console.status("starting the platform"):
                stack.wait_until_ready(lambda _lines: None)
            console.print(Text(f"Forge is ready at {stack.base_url}"))
            try:
                results = [_rendered(slug, stack, options, out, console) for slug in slugs]
            except CommandFailed:
                _show_excerpts(console, stack)
                raise
    except KeyboardInterrupt:
        console.print(Text("The demo was interrupted; everything is stopped."))
        raise click.exceptions.Exit(exits.INTERRUPTED) from None
    console.print()
    console.print(result_table([result.render for result in results]))
    for result in results:
        console.print(Text(f"{result.video}  {result.sheet}"), soft_wrap=True)


def _rendered(slug: str, stack: Stack, options: StackOptions, out: Path, console: Console) -> Result:
    from forge_cli.rest import RestClient

    with RestClient(load(options.home, api_base=stack.base_url, environment={})) as api:
        accepted = api.create_render(api.example_body(slug))
        console.print(Text(f"{slug}: accepted as {accepted.id}"))
        with progress_view(slug, console) as view:
            for event in api.events(accepted.id):
                view.show(event)
        render = api.get_render(accepted.id)
        if render.status != "succeeded":
            raise CommandFailed(
                f"{slug}: the render {render.status}", facts=[f"{render.error.reason}: {render.error.message}"]
            )
        result = Result(render, out / f"{slug}.mp4", out / f"{slug}.png")
        api.save_video(render, result.video)
    _check_and_draw(result)
    console.print(Text(words.outcome(render)), soft_wrap=True)
    for warning in render.warnings:
        console.print(Text(f"  warning: {warning}", style="yellow"), soft_wrap=True)
    return result


def _check_and_draw(result: Result) -> None:
    """Decode the whole video, draw its contact sheet, and compare it with what the render promised."""
    # Here, because PyAV and Pillow belong to the worker's extra: only the demo needs them.
    from forge_cli.contact_sheet import write_contact_sheet

    try:
        found = write_contact_sheet(result.video, result.sheet, title=result.render.slug)
    except (OSError, ValueError) as error:
        raise CommandFailed(f"{result.video} cannot be played: {error}") from error
    promised = result.render.output
    if (found.num_frames, found.width, found.height) != (promised.num_frames, promised.width, promised.height):
        raise CommandFailed(f"{result.video} is not what the render says", facts=[f"decoded: {found}"])


def result_table(renders: list[Render]) -> Table:
    """What each render took: a line a figure, a column a render."""
    table = Table(title="What it took", title_justify="left", title_style="bold")
    table.add_column("")
    for render in renders:
        table.add_column(render.slug, justify="right", overflow="fold")
    rows = {
        "target": [words.target(render.target) for render in renders],
        "cold start": [words.measured_ms(render.timing, "cold_start_ms") for render in renders],
        "encode": [words.measured_ms(render.timing, "encode_ms") for render in renders],
        "denoise": [words.measured_ms(render.timing, "denoise_ms") for render in renders],
        "first frames": [words.measured_ms(render.timing, "first_frames_ms") for render in renders],
        "steps": [str(render.progress.total_steps) for render in renders],
        "decode": [words.measured_ms(render.timing, "decode_ms") for render in renders],
        "mux": [words.measured_ms(render.timing, "mux_ms") for render in renders],
        "store": [words.measured_ms(render.timing, "store_ms") for render in renders],
        "total": [words.measured_ms(render.timing, "total_ms") for render in renders],
        "frames": [str(render.output.num_frames) for render in renders],
        "picture": [f"{render.output.width}×{render.output.height} at {render.output.fps:g} fps" for render in renders],
        "size": [words.size(render.output.size_bytes) for render in renders],
        "estimate": [words.dollars(words.known(render, "estimated_cost_usd")) for render in renders],
        "cost": [words.dollars(words.known(render, "actual_cost_usd")) for render in renders],
    }
    for name, cells in rows.items():
        table.add_row(name, *(Text(cell) for cell in cells))
    return table


def _show_excerpts(console: Console, stack: Stack) -> None:
    """The last warnings and errors of the services, for whoever has to find out."""
    stack.logs.poll()
    for line in stack.logs.recent_warnings(20):
        console.print(log_text(line), soft_wrap=True)
