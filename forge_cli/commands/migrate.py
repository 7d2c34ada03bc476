"""forge migrate: tables of this release, and the way of files into a PostgreSQL and a bucket, while nothing runs."""

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
@click.option("--move", is_flag=True, help="Copy the SQLite files into the PostgreSQL and objects into the bucket.")
@click.option("--json", "as_json", is_flag=True, help="Print what each database holds as JSON.")
@home_option
def migrate(move: bool, as_json: bool, home: Path | None) -> None:
    """Bring the tables of this installation to this release, as the next start would.

    With --move those of the files under its state/ are copied into the PostgreSQL of FORGE_DATABASE_URL, which must be
    empty, and compared row by row, and the objects under its objects/ into the bucket of FORGE_OBJECTS_URL: both, or
    the one that is set. The files stay as they are. A move that broke off is done again by the same command. The
    platform must not run.
    """
    found = Home.at(home)
    found.expect_installation({} if move else os.environ)
    with found.locked():
        text = said_by("services.migrate", found, *(["--move"] if move else []))
    told = json.loads(text)
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    databases, objects = told["databases"], told["objects"]
    rows = [[database["name"], database["revision"], _counts(database["rows"])] for database in databases]
    words.show_table(words.stdout_console(), ["DATABASE", "REVISION", "ROWS"], rows, empty="there are no databases")
    if objects:
        click.echo(f"{objects['moved']:,} objects were moved, {objects['there_before']:,} were there before.")


def _counts(rows: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(rows.items()))
