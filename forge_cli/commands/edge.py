"""forge edge: the edge alone, before services that run elsewhere."""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import click

from forge_cli.draining import drain_edge
from forge_cli.edge import EdgeAddresses, edge_config, envoy_command, listening_at
from forge_cli.failures import CommandFailed
from forge_cli.home import Home
from forge_cli.options import home_option, host_option
from forge_cli.services import setting, speaks_plainly
from forge_cli.signals import interruptible
from forge_cli.stop_times import stop_times

_SERVICES = ("accounts", "billing_estimate", "catalog", "scheduler", "web")


@click.command()
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="Port.")
@host_option
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 256), help="Threads that serve.")
@home_option
def edge(port: int, host: str, threads: int, home: Path | None) -> None:
    """Run the edge alone, before services that run elsewhere, until it is told to stop.

    They are called at FORGE_ACCOUNTS_ADDRESS, FORGE_BILLING_ESTIMATE_ADDRESS, FORGE_CATALOG_ADDRESS,
    FORGE_SCHEDULER_ADDRESS and FORGE_WEB_ADDRESS, each "host:port" or several separated by commas, with the
    certificates of FORGE_TLS_DIR. Spans go to FORGE_TRACES_ADDRESS, where that is set. Told to stop, it refuses new
    connections and gives calls that are under way FORGE_SHUTDOWN_GRACE_SECONDS; told again, it hurries.
    """
    found = Home.at(home)
    times = stop_times(os.environ)
    found.make()
    with found.locked():
        config = edge_config(
            found.run_dir,
            addresses_in(os.environ, listening_at(host, port)),
            host=host,
            environment=os.environ,
            tls_dir=_tls_dir(os.environ),
        )
        tether = [sys.executable, "-P", "-m", "forge_cli.tether", str(os.getpid())]  # it ends when we are killed
        command = [*tether, *envoy_command(config, concurrency=threads)]
        with (
            interruptible(),
            subprocess.Popen(command, start_new_session=True) as envoy,  # noqa: S603 — our own; Ctrl-C is not for it
        ):
            try:
                code = envoy.wait()
            except KeyboardInterrupt:
                with suppress(KeyboardInterrupt):  # which hurries
                    drain_edge(found.run_dir, patience_seconds=times.calls, say=click.echo)
                envoy.kill()  # it serves nothing any more, or is not to
                return
    raise CommandFailed(f"Envoy ended with code {code}; what it said is above")


def addresses_in(environment: Mapping[str, str], listen: str) -> EdgeAddresses:
    """Where the services are, as the environment says. Raises CommandFailed."""
    found = {service: environment.get(setting(service, "address"), "") for service in (*_SERVICES, "traces")}
    if missing := [setting(service, "address") for service in _SERVICES if not found[service]]:
        raise CommandFailed(
            f"the edge does not know where services are: {', '.join(missing)}",
            hints=['set each to "host:port"', "forge up runs the edge and all services together"],
        )
    return EdgeAddresses(listen=listen, **found)


def _tls_dir(environment: Mapping[str, str]) -> Path | None:
    """Where the certificates are; None where the environment asks for plain text. Raises CommandFailed."""
    if folder := environment.get("FORGE_TLS_DIR"):
        return Path(folder)
    if speaks_plainly(environment):
        return None
    raise CommandFailed(
        "the edge has no certificate to show to services",
        hints=["name the folder of certificates in FORGE_TLS_DIR", "or set FORGE_PLAINTEXT=true, on loopback only"],
    )
