"""forge keys: make, list and revoke API keys."""

from datetime import timedelta

import click
from forge.accounts.v1.account_service_pb2 import CreateApiKeyRequest, ListApiKeysRequest, RevokeApiKeyRequest
from forge.accounts.v1.api_key_pb2 import ApiKey

from forge_cli import words
from forge_cli.client import run_with
from forge_cli.options import client_options, json_option
from forge_cli.settings import Settings
from forge_cli.times import DurationType


@click.group()
def keys() -> None:
    """Make, list and revoke API keys."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, help="read, inference or admin; may be repeated. [default: both first]"
)
@click.option("--ttl", type=DurationType(), help="How long it works: 90s, 12h, 30d. [default: for ever]")
@json_option
@client_options
def create(settings: Settings, name: str, scopes: tuple[str, ...], ttl: timedelta | None, as_json: bool) -> None:
    """Make a key called NAME and show its secret, this once."""
    request = CreateApiKeyRequest(name=name, scopes=scopes)
    if ttl:
        request.ttl.FromTimedelta(ttl)
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
