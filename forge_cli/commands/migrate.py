"""forge migrate: tables of this release, and their way from files into a PostgreSQL, while nothing runs."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from forge_cli import words
from forge_cli.home import Home
from forge_cli.options import home_option
from forge_cli.services import said_by


@click.command()
@click.option("--move", is_flag=True, help="Copy every row of the SQLite files into the PostgreSQL.")
@click.option("--json", "as_json", is_flag=True, help="Print what each database holds as JSON.")
@home_option
def migrate(move: bool, as_json: bool, home: Path | None) -> None:
    """Bring the tables of this installation to this release, as the next start would.

    With --move those of the files under its state/ are copied into the PostgreSQL of FORGE_DATABASE_URL, which must be
    empty, and compared row by row. The files stay as they are. A move that broke off is done again by the same command.
    The platform must not run.
    """
    found = Home.at(home)
    found.expect_installation({} if move else os.environ)
    with found.locked():
        text = said_by("services.migrate", found, *(["--move"] if move else []))
    databases = json.loads(text)["databases"]
    if as_json:
        click.echo(json.dumps({"databases": databases}, indent=2))
        return
    rows = [[database["name"], database["revision"], _counts(database["rows"])] for database in databases]
    words.show_table(words.stdout_console(), ["DATABASE", "REVISION", "ROWS"], rows, empty="there are no databases")


def _counts(rows: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(rows.items()))
