"""forge accounts: what only the operator may, on the machine that Forge runs on, whether or not it runs now."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from google.protobuf.timestamp_pb2 import Timestamp

from forge_cli import words
from forge_cli.home import Home
from forge_cli.options import home_option
from forge_cli.services import said_by


@click.group()
def accounts() -> None:
    """Make and list accounts: on this machine only, whether or not the platform runs."""


@accounts.command()
@click.argument("name")
@click.option("--another-key", is_flag=True, help="Make a key though the account has one that works.")
@click.option("--json", "as_json", is_flag=True, help="Print account and secret as JSON.")
@home_option
def create(name: str, another_key: bool, as_json: bool, home: Path | None) -> None:
    """Make the account NAME and show the secret of its first admin key, this once."""
    flags = ["--another-key"] if another_key else []
    secret = _ask_accounts(Home.at(home), "make-account", name, *flags)
    if as_json:
        click.echo(json.dumps({"account": name, "secret": secret}, indent=2))
        return
    click.echo(f"an admin key of the account {name}; its secret is shown only now:", err=True)
    click.echo(secret)


@accounts.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the accounts as JSON.")
@home_option
def list_accounts(as_json: bool, home: Path | None) -> None:
    """List the accounts of this installation."""
    found = json.loads(_ask_accounts(Home.at(home), "list-accounts"))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [_row(account) for account in found["accounts"]]
    columns = ["ACCOUNT", ">KEYS THAT WORK", ">KEYS", "MADE", "LAST USED"]
    words.show_table(words.stdout_console(), columns, rows, empty="there are no accounts")


def _row(account: Mapping[str, Any]) -> list[str]:
    made, used = _moment(account["created_at"]), _moment(account["last_used_at"])
    return [account["name"], str(account["working_keys"]), str(account["keys"]), made, used]


def _moment(written: str | None) -> str:
    stamp = Timestamp()
    if written:
        stamp.FromJsonString(written)
    return words.moment(stamp)


def _ask_accounts(home: Home, *arguments: str) -> str:
    """What the accounts service says to its operator. CommandFailed with its reason when it says no."""
    home.expect_installation(os.environ)
    return said_by("services.accounts", home, *arguments)
