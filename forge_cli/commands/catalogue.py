"""forge catalogue: the files that the catalogue is made of."""

import json
import subprocess
import sys

import click

from forge_cli import exits
from forge_cli.failures import CommandFailed


@click.group()
def catalogue() -> None:
    """Work on the files of the catalogue."""


@catalogue.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print each file with its faults as JSON.")
def check(files: tuple[str, ...], as_json: bool) -> None:
    """Check model files as the catalogue does when it starts; nothing needs to run.

    Each fault is named with its file, line and field. The exit status is that of the check: 0 when there is none.
    """
    if as_json:
        _check_as_json(files)
        return
    # In a process of its own: the command and the services share nothing but the contract.
    done = subprocess.run([sys.executable, "-P", "-m", "services.catalog", "check", *files], check=False)  # noqa: S603 — our own program
    raise click.exceptions.Exit(done.returncode)


def _check_as_json(files: tuple[str, ...]) -> None:
    done = subprocess.run(  # noqa: S603 — our own program
        [sys.executable, "-P", "-m", "services.preflight", *files], capture_output=True, text=True, check=False
    )
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise CommandFailed("the files cannot be checked", facts=done.stderr.strip().splitlines()[-3:]) from None
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    if any(file["faults"] for file in found["files"]):
        raise click.exceptions.Exit(exits.FAILED)
