"""Tables with more columns than may fit: what nobody has measured and what there is no room for is left out."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from forge_cli.words import NOT_KNOWN, TableConsole

_GAP = 2


@dataclass(frozen=True)
class Column:
    """A column and its cells, one a row; names and cells may have several lines.

    Without `sparable` it always shows. Those with the highest number are the first to be left out. A column of
    sentences may be folded, to no less than `folds_at` cells.
    """

    name: str
    cells: Sequence[str]
    is_number: bool = True
    sparable: int = 0
    folds_at: int | None = None

    @property
    def width(self) -> int:
        """Of its longest line."""
        return max(cell_len(line) for text in (self.name, *self.cells) for line in text.split("\n"))

    @property
    def least_width(self) -> int:
        """What it needs."""
        return self.width if self.folds_at is None else min(self.width, self.folds_at)

    @property
    def is_empty(self) -> bool:
        """Whether no cell says anything."""
        return not set(self.cells) - {"", NOT_KNOWN}


def show_columns(console: Console, columns: Sequence[Column], *, is_wide: bool = False) -> None:
    """Print a table, without the columns that say nothing.

    Where the console has no room, and `is_wide` is not asked for, what may be spared is left out and named below.
    """
    shown = [column for column in columns if not (column.sparable and column.is_empty)]
    left_out: list[Column] = []
    while not is_wide and _least_width(shown) > console.width and any(column.sparable for column in shown):
        left_out.append(max(shown, key=lambda column: column.sparable))
        shown.remove(left_out[-1])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in shown:
        justify = "right" if column.is_number else "left"
        table.add_column(column.name, justify=justify, overflow="fold", no_wrap=column is shown[0])
    for row in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*(Text(cell) for cell in row))  # as text: what a server says is no markup
    # A terminal breaks lines that are too long for it; folded to a letter a line nothing could be read.
    needed = _width(shown) if is_wide else _least_width(shown)
    wide_enough = TableConsole(highlight=False, width=needed) if needed > console.width else console
    wide_enough.print(table)
    if left_out:
        names = ", ".join(column.name.replace("-\n", "-").replace("\n", " ") for column in left_out)
        console.print(Text(f"no room for {names}: add --wide", style="dim"), soft_wrap=True)


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _least_width(columns: Sequence[Column]) -> int:
    return sum(column.least_width for column in columns) + _GAP * (len(columns) - 1)
