"""Flags that several commands share."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from forge_cli.home import Home
from forge_cli.settings import Settings, load

Command = TypeVar("Command", bound=Callable[..., Any])

home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the installation. [default: FORGE_HOME, otherwise ~/.forge]",
)
fleet_option = click.option(
    "--fleet",
    metavar="pages|local|FILE",
    envvar="FORGE_FLEET",
    show_envvar=True,
    help="Which slots exist: the simulated targets of the model pages, this machine's own devices, or a fleet file.",
)
host_option = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the API's answer as JSON.")
version_option = click.option("--version", "version", default="", help="Version of the model. [default: the model's]")
gpu_type_option = click.option("--gpu-type", default="", help="Pin to this device, for example H200.")
region_option = click.option("--region", default="", help="Pin to this region, for example eu-north2.")


def client_options(command: Command) -> Command:
    """Adds --api-base, --api-key and --home; the command gets `settings: Settings` instead."""

    @click.option(
        "--api-base", metavar="URL", help="Where the API is. [default: FORGE_API_BASE, then the home's files]"
    )
    @click.option("--api-key", metavar="KEY", help="Key to send. [default: FORGE_API_KEY, then the home's files]")
    @home_option
    @wraps(command)
    def with_settings(*, api_base: str | None, api_key: str | None, home: Path | None, **given: Any) -> Any:
        settings: Settings = load(Home.at(home), api_base=api_base, api_key=api_key)
        return command(settings=settings, **given)

    return with_settings  # pyright: ignore[reportReturnType] — the same command, with other parameters
