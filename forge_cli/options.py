"""Flags that several commands share."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from forge_cli.completing import a_gpu_type, a_region
from forge_cli.home import Home
from forge_cli.settings import Settings, load
from forge_cli.times import DurationType, MomentType, rfc_3339

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
schedulers_option = click.option(
    "--schedulers",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    envvar="FORGE_SCHEDULERS",
    show_envvar=True,
    help="How many schedulers take calls; one of them leads. More than one need FORGE_DATABASE_URL.",
)
placer_option = click.option(
    "--placer",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    envvar="FORGE_PLACER",
    show_envvar=True,
    help="Where renders run: here, or on the Ray cluster at RAY_ADDRESS.",
)
host_option = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the API's answer as JSON.")
version_option = click.option("--version", "version", default="", help="Version of the model. [default: the model's]")
gpu_type_option = click.option(
    "--gpu-type", default="", shell_complete=a_gpu_type, help="Pin to this device, for example H200."
)
parameter_option = click.option(
    "-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="An input; may be repeated."
)
image_option = click.option(
    "--image", type=click.Path(dir_okay=False, path_type=Path), help="Image to start from: PNG, JPEG, WebP, PPM."
)
pause_option = click.option(
    "--pause-after-step", type=click.IntRange(min=1), metavar="N", help="Pause after this step, with a preview."
)
wide_option = click.option("--wide", "is_wide", is_flag=True, help="Show every column, however wide the terminal is.")
region_option = click.option(
    "--region", default="", shell_complete=a_region, help="Pin to this region, for example eu-north2."
)


def _finite(_context: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter("give an amount of US dollars above 0")
    return value


def _in_seconds(_context: click.Context, _option: click.Parameter, value: timedelta | None) -> float | None:
    return value.total_seconds() if value else None


prefer_option = click.option(
    "--prefer", type=click.Choice(["cheapest", "fastest"]), help="Where there is a choice of targets."
)
max_cost_option = click.option(
    "--max-cost",
    "--max-cost-usd",
    "max_cost",
    type=float,
    metavar="USD",
    callback=_finite,
    help="Run only where it is expected to cost at most this, and stop it when it has.",
)
deadline_option = click.option(
    "--deadline",
    type=MomentType(),
    metavar="TIME",
    help="Stop it if it has not ended by then: 90s, 10m, 2h, or 2030-01-31T18:00:00Z.",
)
finish_within_option = click.option(
    "--finish-within",
    "finish_within_seconds",
    type=DurationType(),
    callback=_in_seconds,
    metavar="DURATION",
    help="Run on the cheapest target that is expected to be done by then: 90s, 3m. It stops nothing.",
)


def wishes_options(command: Command) -> Command:
    """Adds what a render is asked for beside its inputs; the command gets `wishes: dict`, by the names of a request."""

    @click.option("--priority", type=click.Choice(["low", "normal", "high"]), help="Among your own renders.")
    @prefer_option
    @max_cost_option
    @deadline_option
    @pause_option
    @click.option(
        "--idempotency-key",
        metavar="KEY",
        help="Asking twice with one key makes one render. [default: a new one each time]",
    )
    @wraps(command)
    def with_wishes(
        *,
        priority: str | None,
        prefer: str | None,
        max_cost: float | None,
        deadline: datetime | None,
        pause_after_step: int | None,
        idempotency_key: str | None,
        **given: Any,
    ) -> Any:
        wishes: dict[str, Any] = {
            "priority": priority,
            "prefer": prefer,
            "max_cost_usd": max_cost,
            "deadline": rfc_3339(deadline) if deadline else None,
            "pause_after_step": pause_after_step,
            "request_id": idempotency_key or None,
        }
        return command(wishes={name: value for name, value in wishes.items() if value is not None}, **given)

    return with_wishes  # pyright: ignore[reportReturnType] — the same command, with other parameters


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
