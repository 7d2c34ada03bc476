"""forge keys: make, rotate, list and revoke API keys."""

from datetime import timedelta

import click
from forge.accounts.v1.account_service_pb2 import (
    CreateApiKeyRequest,
    ListApiKeysRequest,
    RevokeApiKeyRequest,
    RotateApiKeyRequest,
)
from forge.accounts.v1.api_key_pb2 import ApiKey

from forge_cli import words
from forge_cli.client import run_with
from forge_cli.completing import a_key
from forge_cli.options import client_options, json_option
from forge_cli.settings import Settings
from forge_cli.times import DurationType


@click.group()
def keys() -> None:
    """Make, rotate, list and revoke API keys."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, help="read, inference or admin; may be repeated. [default: both first]"
)
@click.option("--ttl", type=DurationType(), help="How long it works: 90s, 12h, 30d. [default: for ever]")
@click.option("--rate", type=float, metavar="N", help="Requests a second it may make. [default: the installation's]")
@click.option(
    "--burst", type=int, metavar="N", help="Requests it may make at once; with --rate. [default: two seconds' worth]"
)
@json_option
@client_options
def create(
    settings: Settings,
    name: str,
    scopes: tuple[str, ...],
    ttl: timedelta | None,
    rate: float | None,
    burst: int | None,
    as_json: bool,
) -> None:
    """Make a key called NAME and show its secret, this once."""
    if burst is not None and rate is None:
        raise click.UsageError("--burst needs --rate")
    request = CreateApiKeyRequest(name=name, scopes=scopes)
    if ttl:
        request.ttl.FromTimedelta(ttl)
    if rate is not None:
        request.rate_limit.requests_per_second = rate
        if burst is not None:
            request.rate_limit.burst = burst
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
            _rate_limit(key),
            key.replaced_by,
        ]
        for key in found.api_keys
    ]
    columns = ["ID", "NAME", "PREFIX", "SCOPES", "MADE", "LAST USED", "ENDS", "RATE LIMIT", "REPLACED BY"]
    words.show_table(words.stdout_console(), columns, rows, empty="there are no keys")


@keys.command()
@click.argument("key_id", metavar="ID", shell_complete=a_key)
@click.option(
    "--overlap",
    type=DurationType(may_be_nothing=True),
    help="How long the old key works beside the new one: 1h, 7d, 0s for not at all. [default: 24h]",
)
@json_option
@client_options
def rotate(settings: Settings, key_id: str, overlap: timedelta | None, as_json: bool) -> None:
    """Make a key that takes the place of another, which ends after the overlap, and show its secret, this once."""
    request = RotateApiKeyRequest(id=key_id)
    if overlap is not None:
        request.overlap.FromTimedelta(overlap)
    made = run_with(settings, lambda client: client.call(client.accounts.RotateApiKey, request, retry_seconds=0))
    if as_json:
        words.show_json(made)
        return
    old = made.replaced
    click.echo(f"{made.api_key.id} takes the place of {old.id} ({old.name}), which ends {_end(old)};", err=True)
    click.echo("the new secret is shown only now:", err=True)
    click.echo(made.secret)


@keys.command()
@click.argument("key_id", metavar="ID", shell_complete=a_key)
@json_option
@client_options
def revoke(settings: Settings, key_id: str, as_json: bool) -> None:
    """Revoke a key. It stops working within seconds."""
    key = run_with(settings, lambda client: client.call(client.accounts.RevokeApiKey, RevokeApiKeyRequest(id=key_id)))
    if as_json:
        words.show_json(key)
        return
    click.echo(f"{key.id} ({key.name}) is revoked")


def _rate_limit(key: ApiKey) -> str:
    limit = key.rate_limit
    return f"{limit.requests_per_second:g}/s, {limit.burst} at once" if key.HasField("rate_limit") else ""


def _end(key: ApiKey) -> str:
    if key.HasField("revoked_at"):
        return f"revoked {words.moment(key.revoked_at)}"
    return words.moment(key.expires_at) if key.HasField("expires_at") else "never"
