"""forge why: why a render waits, why it runs where it does, and what was tried for it."""

import click
from forge.scheduler.v1.render_pb2 import Render
from forge.scheduler.v1.render_service_pb2 import GetRenderRequest
from rich.text import Text

from forge_cli import words
from forge_cli.client import run_with
from forge_cli.completing import a_render
from forge_cli.options import client_options, json_option
from forge_cli.settings import Settings


@click.command()
@click.argument("render_id", metavar="ID", shell_complete=a_render)
@json_option
@client_options
def why(settings: Settings, render_id: str, as_json: bool) -> None:
    """Say why a render waits or runs where it does, what was asked for, and what each attempt came to."""
    request = GetRenderRequest(render_id=render_id)
    found = run_with(settings, lambda client: client.call(client.renders.GetRender, request))
    if as_json:
        words.show_json(found)
        return
    console = words.stdout_console()
    console.print(Text(f"{found.id}  {found.slug} {found.model_version}  {_standing(found)}", style="bold"))
    for line in filter(None, (found.explanation, _failure(found), _asked_for(found), _bounds(found), _taken(found))):
        console.print(Text(line), soft_wrap=True)
    if not found.attempts:
        return
    console.print()
    rows = [
        [
            str(tried.attempt),
            words.target(tried.target),
            words.moment(tried.started_at),
            words.seconds(tried.gpu_seconds),
            f"step {tried.resumed_steps}" if tried.resumed_steps else "",
            tried.outcome,
            tried.message,
        ]
        for tried in found.attempts
    ]
    columns = ["ATTEMPT", "TARGET", "BEGAN", ">DEVICE TIME", "RESUMED AFTER", "OUTCOME", "WHAT HAPPENED"]
    words.show_table(console, columns, rows, empty="")


def _standing(render: Render) -> str:
    parts = [render.status]
    progress = render.progress
    if render.status == "queued" and progress.HasField("queue_position"):
        parts.append(f"place {progress.queue_position}")
    if render.status in ("running", "canceling"):
        parts[0] += f": {render.phase}"
        parts.append(f"on {words.target(render.target)}")
    if render.status in ("running", "paused") and progress.total_steps:
        parts.append(f"step {progress.done_steps} of {progress.total_steps}")
    if render.status in ("queued", "running") and (eta := words.eta(progress)):
        parts.append(f"done in {eta}")
    return ", ".join(parts)


def _failure(render: Render) -> str:
    return f"{render.error.message} (reason: {render.error.reason})" if render.HasField("error") else ""


def _asked_for(render: Render) -> str:
    parts = [f"{render.priority} priority"] if render.priority else []
    if render.prefer:
        parts.append(f"{render.prefer} target preferred")
    if render.HasField("finish_within_seconds"):
        parts.append(f"wanted within {words.seconds(render.finish_within_seconds)}")
    if render.HasField("max_cost_usd"):
        parts.append(f"at most {words.dollars(render.max_cost_usd)}")
    if render.pause_after_step:
        parts.append(f"pauses after step {render.pause_after_step}")
    if render.retry_of:
        parts.append(f"tries {render.retry_of} again")
    if render.branch_of:
        parts.append(f"branched from {render.branch_of}")
    return "asked for: " + ", ".join(parts) if parts else ""


def _bounds(render: Render) -> str:
    parts = []
    if render.HasField("expires_at") and not render.HasField("ended_at"):
        parts.append(f"given up at {words.moment(render.expires_at)} if it still waits")
    if render.HasField("deadline"):
        parts.append(f"stopped at {words.moment(render.deadline)} if it has not ended")
    return ", ".join(parts)


def _taken(render: Render) -> str:
    if not render.gpu_seconds:
        return ""
    cost = f" at a cost of {words.dollars(render.actual_cost_usd)}" if render.HasField("actual_cost_usd") else ""
    estimate = (
        f", estimated at {words.dollars(render.estimated_cost_usd)}" if render.HasField("estimated_cost_usd") else ""
    )
    return f"it has held devices for {words.seconds(render.gpu_seconds)}{cost}{estimate}"
