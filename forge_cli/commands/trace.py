"""forge trace: what was done for a render, by whom and when."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click
from forge.scheduler.v1.render_service_pb2 import GetRenderTraceRequest
from forge.scheduler.v1.render_trace_pb2 import RenderTrace, TraceSpan
from rich.table import Table
from rich.text import Text

from forge_cli import words
from forge_cli.client import run_with
from forge_cli.completing import a_render
from forge_cli.options import client_options, json_option
from forge_cli.settings import Settings

_BAR_WIDTH = 36
_LEAST_GAP = 0.01
"""The part of the whole from which on it shows that nothing was told of."""
_WITH_GAPS = frozenset({"render", "attempt"})
_STYLES = {"render": "bold", "queue": "dim", "pause": "dim", "attempt": "cyan", "cold start": "yellow"}
_FACTS = ("outcome", "reason", "gpu_type", "resumed_steps", "done_steps", "total_steps", "cut_off", "status")


@dataclass(frozen=True)
class Row:
    """A span, or a gap between two, in seconds from the beginning of the trace."""

    depth: int
    name: str
    service: str
    began: float
    seconds: float
    goes_on: bool = False
    failed: bool = False
    note: str = ""


@click.command()
@click.argument("render_id", metavar="ID", shell_complete=a_render)
@json_option
@client_options
def trace(settings: Settings, render_id: str, as_json: bool) -> None:
    """Draw what was done for a render: the request, the queue, each attempt with its cold start and its phases."""
    request = GetRenderTraceRequest(render_id=render_id)
    found = run_with(settings, lambda client: client.call(client.renders.GetRenderTrace, request))
    if as_json:
        words.show_json(found)
        return
    console = words.stdout_console()
    if found.trace_id:
        console.print(Text(f"trace {found.trace_id}", style="bold"))
    rows = rows_of(found)
    whole = max((row.began + row.seconds for row in rows), default=0.0)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("WHAT", "WHO", "AFTER", "TOOK", ""):
        table.add_column(name, justify="right" if name in ("AFTER", "TOOK") else "left", no_wrap=True)
    table.add_column("", overflow="ellipsis", no_wrap=True)
    for row in rows:
        style = "red" if row.failed else _STYLES.get(row.name, "")
        table.add_row(
            Text("  " * row.depth + row.name, style=style),
            Text(row.service, style="dim"),
            Text(_took(row.began)),
            Text(_took(row.seconds) + ("…" if row.goes_on else "")),
            Text(bar(row, whole), style=style or "blue"),
            Text(row.note, style="dim"),
        )
    console.print(table)
    if found.note:
        console.print(Text(f"Note: {found.note}.", style="yellow"), soft_wrap=True)


def rows_of(found: RenderTrace) -> list[Row]:
    """The spans of a trace as a tree, each below what it is a part of, with the gaps between the parts of a render."""
    if not found.spans:
        return []
    origin = min(_began(span) for span in found.spans)
    last = max(_began(span) + span.duration_ms / 1000 for span in found.spans)
    known = {span.span_id for span in found.spans}
    parts: dict[str, list[TraceSpan]] = defaultdict(list)
    for span in found.spans:
        parts[span.parent_span_id if span.parent_span_id in known else ""].append(span)

    def walk(parent: str, depth: int) -> Iterator[Row]:
        for span in sorted(parts[parent], key=_began):
            yield _row(span, depth, origin, last)
            if span.name in _WITH_GAPS and parts[span.span_id]:
                gaps = list(_gaps(span, parts[span.span_id], depth + 1, origin, last))
                yield from _merged([*walk(span.span_id, depth + 1)], gaps, depth + 1)
            else:
                yield from walk(span.span_id, depth + 1)

    return list(walk("", 0))


def bar(row: Row, whole: float) -> str:
    """Where in the whole it lies."""
    if whole <= 0:
        return ""
    begin = min(_BAR_WIDTH - 1, round(row.began / whole * _BAR_WIDTH))
    width = max(1, min(_BAR_WIDTH, round((row.began + row.seconds) / whole * _BAR_WIDTH)) - begin)
    return " " * begin + ("·" if row.name == "(gap)" else "█") * width


def _took(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms" if seconds < 0.1 else words.seconds(seconds)


def _row(span: TraceSpan, depth: int, origin: float, last: float) -> Row:
    goes_on = not span.HasField("duration_ms")
    began = _began(span)
    seconds = max(0.0, last - began) if goes_on else span.duration_ms / 1000
    return Row(depth, span.name, span.service, began - origin, seconds, goes_on, span.status == "error", _note(span))


def _gaps(span: TraceSpan, parts: Sequence[TraceSpan], depth: int, origin: float, last: float) -> Iterator[Row]:
    """The times in which none of the parts was under way."""
    reached = _began(span)
    whole = last - origin
    end = last if not span.HasField("duration_ms") else reached + span.duration_ms / 1000
    for part in sorted(parts, key=_began):
        if _began(part) - reached > _LEAST_GAP * whole:
            yield Row(depth, "(gap)", "", reached - origin, _began(part) - reached)
        part_end = last if not part.HasField("duration_ms") else _began(part) + part.duration_ms / 1000
        reached = max(reached, part_end)
    if end - reached > _LEAST_GAP * whole:
        yield Row(depth, "(gap)", "", reached - origin, end - reached)


def _merged(rows: list[Row], gaps: list[Row], depth: int) -> Iterator[Row]:
    """Rows in order, each gap before the next part of the same depth."""
    waiting = list(gaps)
    for row in rows:
        while row.depth == depth and waiting and waiting[0].began <= row.began:
            yield waiting.pop(0)
        yield row
    yield from waiting


def _note(span: TraceSpan) -> str:
    facts = [
        f"{name.replace('_', ' ')} {span.attributes[f'forge.{name}']}"
        for name in _FACTS
        if span.attributes.get(f"forge.{name}", "0") != "0"
    ]
    counted: dict[str, int] = defaultdict(int)
    for event in span.events:
        counted[event.name] += 1
    return ", ".join([*facts, *(f"{number} × {name}" for name, number in counted.items())])


def _began(span: TraceSpan) -> float:
    return span.started_at.seconds + span.started_at.nanos / 1e9
