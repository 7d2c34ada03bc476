"""forge keys: make, list and revoke API keys."""

import re

import click
from forge.accounts.v1.account_service_pb2 import CreateApiKeyRequest, ListApiKeysRequest, RevokeApiKeyRequest
from forge.accounts.v1.api_key_pb2 import ApiKey
from google.protobuf.duration_pb2 import Duration

from forge_cli import words
from forge_cli.client import run_with
from forge_cli.options import client_options, json_option
from forge_cli.settings import Settings

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@click.group()
def keys() -> None:
    """Make, list and revoke API keys."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, help="read, inference or admin; may be repeated. [default: both first]"
)
@click.option(
    "--ttl",
    callback=lambda _context, _option, text: _ttl(text),
    help="How long it works: 90s, 12h, 30d. [default: for ever]",
)
@json_option
@client_options
def create(settings: Settings, name: str, scopes: tuple[str, ...], ttl: int | None, as_json: bool) -> None:
    """Make a key called NAME and show its secret, this once."""
    request = CreateApiKeyRequest(name=name, scopes=scopes, ttl=Duration(seconds=ttl) if ttl else None)
    made = run_with(settings, lambda client: client.call(client.accounts.CreateApiKey, request, retry_seconds=0))
    if as_json:
        words.show_json(made)
        return
    click.echo(f"{made.api_key.id} ({', '.join(made.api_key.scopes)}); the secret is shown only now:", err=True)
    click.echo(made.secret)


@keys.command("list")
@json_option
@client_options
def list_keys(settings: Settings, as_json: bool) -> None:
    """List the account's keys, revoked ones included."""
    found = run_with(settings, lambda client: client.call(client.accounts.ListApiKeys, ListApiKeysRequest()))
    if as_json:
        words.show_json(found)
        return
    rows = [
        [
            key.id,
            key.name,
            f"{key.prefix}…",
            ", ".join(key.scopes),
            words.moment(key.created_at),
            words.moment(key.last_used_at),
            _end(key),
        ]
        for key in found.api_keys
    ]
    columns = ["ID", "NAME", "PREFIX", "SCOPES", "MADE", "LAST USED", "ENDS"]
    words.show_table(words.stdout_console(), columns, rows, empty="there are no keys")


@keys.command()
@click.argument("key_id", metavar="ID")
@client_options
def revoke(settings: Settings, key_id: str) -> None:
    """Revoke a key. It stops working within seconds."""
    key = run_with(settings, lambda client: client.call(client.accounts.RevokeApiKey, RevokeApiKeyRequest(id=key_id)))
    click.echo(f"{key.id} ({key.name}) is revoked")


def _end(key: ApiKey) -> str:
    if key.HasField("revoked_at"):
        return f"revoked {words.moment(key.revoked_at)}"
    return words.moment(key.expires_at) if key.HasField("expires_at") else "never"


def _ttl(text: str | None) -> int | None:
    """Seconds that "90s", "15m", "12h" or "30d" mean."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if not match:
        raise click.BadParameter("write it as a whole number with a unit: 90s, 15m, 12h or 30d")
    return int(match[1]) * _UNIT_SECONDS[match[2]]
