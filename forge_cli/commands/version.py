"""forge version: which release this command is, and which one the platform it talks to."""

import json
import platform
from typing import Any

import click
import httpx

from forge_cli.options import client_options, json_option
from forge_cli.release import this_release
from forge_cli.settings import Settings, is_loopback

_SECONDS = 5.0


@click.command()
@json_option
@client_options
def version(settings: Settings, as_json: bool) -> None:
    """Show the release of this command and of the platform that it talks to.

    A platform that does not answer is no failure.
    """
    release = this_release()
    served = _served(settings)
    if as_json:
        mine = {"version": release.version, "commit": release.commit, "python": platform.python_version()}
        click.echo(json.dumps({"command": mine, "platform": served}, indent=2))
        return
    click.echo(f"forge {release}")
    if served is None:
        click.echo(f"no platform answers at {settings.api_base}")
    else:
        click.echo(f"the platform at {settings.api_base} is {served['version'] or 'of a release it does not tell'}")


def _served(settings: Settings) -> dict[str, Any] | None:
    """What the platform says of itself; None when nobody answers."""
    try:
        with httpx.Client(trust_env=not is_loopback(settings.api_base), timeout=_SECONDS) as client:
            found = client.get(f"{settings.api_base}/openapi.json").raise_for_status().json()["info"]
        return {"address": settings.api_base, "api": found["version"], "version": found.get("x-release")}
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None
