"""forge start: a version made warm, with what its start does meanwhile."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from datetime import timedelta

import click
from forge.scheduler.v1.runtime_service_pb2 import FamilyStatus, StartRuntimeRequest, StartRuntimeResponse
from rich.console import Console
from rich.text import Text

from forge_cli import words
from forge_cli.client import Client, run_with
from forge_cli.completing import a_model
from forge_cli.failures import CommandFailed
from forge_cli.options import client_options, gpu_type_option, json_option, region_option, version_option
from forge_cli.patience import PATIENCE_SECONDS, Patience
from forge_cli.settings import Settings
from forge_cli.times import DurationType
from forge_cli.watching import follow_family

_START_SECONDS = 3600.0

Tell = Callable[[FamilyStatus], None]


@click.command()
@click.argument("slug", shell_complete=a_model)
@version_option
@gpu_type_option
@region_option
@click.option("--keep", is_flag=True, help="Keep it warm until it is stopped.")
@click.option(
    "--idle-release",
    type=DurationType(),
    help="How long it stays warm without work: 90s, 10m, 2h. [default: the installation's]",
)
@json_option
@client_options
def start(
    settings: Settings,
    slug: str,
    version: str,
    gpu_type: str,
    region: str,
    keep: bool,
    idle_release: timedelta | None,
    as_json: bool,
) -> None:
    """Start a model and wait until it is warm."""
    if keep and idle_release:
        raise click.UsageError("--keep never releases it: leave out --keep or --idle-release")
    request = StartRuntimeRequest(
        slug=slug,
        version=version,
        gpu_type=gpu_type,
        region=region,
        run_until_stopped=keep,
        idle_release_seconds=idle_release.total_seconds() if idle_release else None,
    )
    with _telling(slug, Console(stderr=True, quiet=as_json)) as tell:
        found = run_with(settings, lambda client: _start(client, request, tell))
    if as_json:
        words.show_json(found)
        return
    where = f"{found.gpu_type} {found.region}{' (simulated)' if found.simulated else ''}"
    how = "started in" if found.was_cold_start else "was already warm; its start took"
    kept = "; it stays warm until it is stopped" if found.keep_warm else ""
    click.echo(f"{found.slug} {found.version} on {where} {how} {words.seconds(found.startup_ms / 1000)}{kept}")


async def _start(client: Client, request: StartRuntimeRequest, tell: Tell) -> StartRuntimeResponse:
    """Start, and tell meanwhile how warm the version is. A start that broke off goes on when it is asked for again."""
    telling = asyncio.create_task(_pass_on(client, request, tell))
    try:
        return await client.call(
            client.runtimes.StartRuntime,
            request,
            timeout_seconds=_START_SECONDS,
            retry_seconds=PATIENCE_SECONDS,
        )
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _pass_on(client: Client, request: StartRuntimeRequest, tell: Tell) -> None:
    with suppress(CommandFailed):  # the start itself says what is wrong
        async with aclosing(follow_family(client, request.slug, request.version, Patience())) as families:
            async for family in families:
                tell(family)


@contextmanager
def _telling(slug: str, console: Console) -> Iterator[Tell]:
    """Something that is told how warm the version is: one changing line on a terminal, otherwise a line a phase."""
    if console.is_terminal:
        with console.status(Text(f"starting {slug}")) as status:
            yield lambda family: status.update(Text(f"starting {slug}: {_starts(family) or family.status}"))
        return
    shown: set[tuple[str, str]] = set()

    def tell(family: FamilyStatus) -> None:
        for runtime in family.runtimes:
            mark = (runtime.id, runtime.start_phase)
            if runtime.status == "starting" and runtime.start_phase and mark not in shown:
                shown.add(mark)
                console.print(Text(f"starting {slug}: {words.start(runtime)}"), soft_wrap=True)

    yield tell


def _starts(family: FamilyStatus) -> str:
    starting = [runtime for runtime in family.runtimes if runtime.status == "starting"]
    return "; ".join(filter(None, map(words.start, starting)))
