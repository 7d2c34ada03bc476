"""Numbers, targets and times as people read them."""

import json
import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click
from forge.common.v1.target_pb2 import Target
from forge.scheduler.v1.render_pb2 import Progress, Render
from forge.scheduler.v1.runtime_pb2 import Runtime
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

NOT_KNOWN = "–"
_FILE_WIDTH = 240
_FOLDS_AT, _GAP = 14, 2
_SIZES = ((1_000, "kB"), (1_000_000, "MB"), (1_000_000_000, "GB"))


def seconds(value: float | None) -> str:
    """A duration: "0.84 s", "12.3 s", "2 min 05 s"."""
    if value is None:
        return NOT_KNOWN
    if value < 9.995:
        return f"{value:.2f} s"
    if value < 99.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def seconds_range(low: float, high: float) -> str:
    """Two durations as the bounds of one: "40.1–43.0 s", "10.9–11.3 min", "1.2–1.4 h"."""
    if high < 99.95:
        return f"{low:.1f}–{high:.1f} s"
    size_seconds, unit = (60, "min") if high < 3600 else (3600, "h")
    return f"{low / size_seconds:.1f}–{high / size_seconds:.1f} {unit}"


def age(value: float | None) -> str:
    """How long ago, roughly: "40 s", "12 min", "3 h", "9 d"."""
    if value is None:
        return NOT_KNOWN
    for size_seconds, unit, limit in ((1, "s", 60), (60, "min", 3600), (3600, "h", 48 * 3600)):
        if value < limit:
            return f"{int(value / size_seconds)} {unit}"
    return f"{int(value / 86_400)} d"


def eta(progress: Progress) -> str:
    """How much time is left: "40.0 s to 2 min 05 s", from half of the cases to nine of ten; "" when unknown."""
    if not progress.HasField("eta_seconds_p50"):
        return ""
    usually = seconds(progress.eta_seconds_p50)
    at_most = seconds(max(progress.eta_seconds_p50, progress.eta_seconds_p90))
    return usually if usually == at_most else f"{usually} to {at_most}"


def measured_ms(message: Message, field: str) -> str:
    """An optional `*_ms` field as a duration; a dash when it was not measured."""
    return seconds(getattr(message, field) / 1000 if message.HasField(field) else None)


def known(message: Message, field: str) -> Any:
    """The value of an optional field; None when it is absent."""
    return getattr(message, field) if message.HasField(field) else None


def dollars(value: float | None) -> str:
    """An amount in US dollars with the digits that matter at its size: "$4.50", "$0.0123", "$0.000150"."""
    if value is None:
        return NOT_KNOWN
    if value >= 1 or value == 0:
        return f"${value:.2f}"
    return f"${value:.4f}" if value >= 0.001 else f"${value:.6f}"


def exact_dollars(value: float | None) -> str:
    """An amount to the millionth, so that amounts below each other can be added up: "$0.004650"."""
    return NOT_KNOWN if value is None else f"${value:.6f}"


def share(value: float) -> str:
    """A share of a whole: "97 %"."""
    return f"{value * 100:.0f} %"


def difference(value: float) -> str:
    """How far something differs from what it is compared with: "+12 %", "-36 %", "0 %"."""
    whole = round(value * 100)
    return f"{whole:+d} %" if whole else "0 %"


def gib(value: float | None) -> str:
    """An amount of memory: "12.4 GiB"."""
    return NOT_KNOWN if value is None else f"{value:.1f} GiB"


def size(count: int) -> str:
    """A number of bytes: "640 B", "12.5 kB", "3.1 MB", "5.4 GB"."""
    if count < 1000:
        return f"{count} B"
    power, unit = next(known for known in _SIZES if count < known[0] * 1000 or known is _SIZES[-1])
    return f"{count / power:.1f} {unit}"


def target(found: Target) -> str:
    """A target: "H200 eu-north2 (simulated)"."""
    if not found.gpu_type:
        return NOT_KNOWN
    return f"{found.gpu_type} {found.region}{' (simulated)' if found.simulated else ''}"


def moment(stamp: Timestamp) -> str:
    """A time in the reader's own time zone, to the second."""
    if not (stamp.seconds or stamp.nanos):
        return NOT_KNOWN
    return datetime.fromtimestamp(stamp.seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def video(render: Render) -> str:
    """What the video is: "25 frames 1024×576 at 7 fps, 412.0 kB"."""
    output = render.output
    return f"{output.num_frames} frames {output.width}×{output.height} at {output.fps:g} fps, {size(output.size_bytes)}"


def start(runtime: Runtime) -> str:
    """What the start of a runtime is at: "loading weights, 3.1 GB of 12.4 GB"; "" when it is not known."""
    parts = [runtime.start_message or runtime.start_phase]
    if runtime.HasField("start_done_bytes"):
        of = f" of {size(round(runtime.start_total_bytes))}" if runtime.HasField("start_total_bytes") else ""
        parts.append(f"{size(round(runtime.start_done_bytes))}{of}")
    return ", ".join(filter(None, parts))


def outcome(render: Render) -> str:
    """How a render ended, in one line."""
    parts = [f"{render.slug} {render.status}"]
    if render.timing.HasField("total_ms"):
        parts[0] += f" in {measured_ms(render.timing, 'total_ms')}"
    if render.target.gpu_type:
        parts.append(f"on {target(render.target)}")
    if render.timing.HasField("cold_start_ms"):
        parts.append(f"cold start {measured_ms(render.timing, 'cold_start_ms')}")
    if render.status == "succeeded":
        parts.append(video(render))
    if render.HasField("actual_cost_usd"):
        parts.append(f"cost {dollars(render.actual_cost_usd)}")
    if render.HasField("estimated_cost_usd"):
        parts.append(f"estimate {dollars(render.estimated_cost_usd)}")
    return " · ".join(parts)


def show_json(answer: Message | Sequence[Message]) -> None:
    """Print a message, or a list of them, as the REST API would."""
    fields = _as_json(answer) if isinstance(answer, Message) else [_as_json(message) for message in answer]
    click.echo(json.dumps(fields, indent=2, ensure_ascii=False))


def show_json_line(message: Message) -> None:
    """Print a message as one line of JSON, as the REST API streams it."""
    click.echo(json.dumps(_as_json(message), ensure_ascii=False))


def _as_json(message: Message) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def stdout_console() -> Console:
    """Where tables go: as wide as the terminal; into files and pipes without folding."""
    console = TableConsole(highlight=False)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return TableConsole(highlight=False, width=_FILE_WIDTH)


class TableConsole(Console):
    """A console whose reader may leave early."""

    def on_broken_pipe(self) -> None:
        """Let the command as a whole decide what that means."""
        self.quiet = True
        raise BrokenPipeError


def show_table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print rows under their column names, or `empty` when there are none. A name that starts with ">" aligns right."""
    if not rows:
        console.print(Text(empty))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        justify = "right" if column.startswith(">") else "left"
        # The first column holds what other commands are given: it must be possible to copy it.
        table.add_column(column.removeprefix(">"), justify=justify, overflow="fold", no_wrap=place == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # as text: what a server says is no markup
    # A terminal breaks lines that are too long for it; folded to a letter a line nothing could be read.
    needed = _least_width(columns, rows)
    (TableConsole(highlight=False, width=needed) if needed > console.width else console).print(table)


def _least_width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """What a table needs whose first column is whole and whose others fold no further than can be read."""
    widths = [max(map(cell_len, cells)) for cells in zip(columns, *rows, strict=True)]
    return widths[0] + sum(min(width, _FOLDS_AT) + _GAP for width in widths[1:])
