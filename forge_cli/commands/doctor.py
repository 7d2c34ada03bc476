"""forge doctor: what is missing on this machine, and what to do about it."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import click

from forge_cli import exits
from forge_cli.doctor import configuration, contents, installation, machine, packages, running
from forge_cli.doctor.finding import Finding, examined
from forge_cli.doctor.ground import Ground
from forge_cli.home import Home
from forge_cli.options import home_option

_CHECKS = {
    "system": machine.system,
    "python": machine.python,
    "packages": packages.pins,
    "memory": machine.memory,
    "shared-memory": machine.shared_memory,
    "open-files": machine.open_files,
    "home": installation.place,
    "disk": installation.room,
    "secrets": installation.secrets,
    "links": installation.links,
    "clock": installation.clock,
    "certificates": contents.certificates,
    "databases": contents.databases,
    "objects": contents.objects,
    "cluster": contents.cluster,
    "platform": running.platform,
    "port": machine.port,
    "client": configuration.client,
    "browser": machine.browser,
    "envoy": machine.envoy,
    "services": packages.services,
    "environment": configuration.environment,
    "config": configuration.files,
    "weights": configuration.weights,
    "encoder": packages.encoder,
    "torch": packages.torch,
}
"""In this order: what other programs are asked for comes last."""
_MARKS = {"pass": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


@click.command()
@home_option
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="Where it would be served."
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(home: Path | None, port: int, as_json: bool) -> None:
    """Say what is missing on this machine, and what to do about it.

    Nothing is changed, nobody outside this machine is called, and no secret is shown. It takes some seconds, also while
    the platform runs. The exit status is 0 when Forge can run, with warnings too, and 1 when something must be mended.
    """
    findings: list[Finding] = []
    with Ground(Home.at(home), port) as ground:
        for finding in examined(ground, _CHECKS):
            findings.append(finding)
            if not as_json:
                _show(finding)
    counts = {state: sum(finding.state == state for finding in findings) for state in _MARKS}
    if as_json:
        found = {"is_well": not counts["fail"], "findings": [asdict(finding) for finding in findings]}
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        click.echo(_sum(counts))
    if counts["fail"]:
        raise click.exceptions.Exit(exits.FAILED)


def _show(finding: Finding) -> None:
    mark, colour = _MARKS[finding.state]
    color = False if os.environ.get("NO_COLOR") else None
    click.echo(f"{click.style(mark, fg=colour)} {finding.check:<13} {finding.text}", color=color)
    if finding.remedy:
        click.echo(f"{'':18} → {finding.remedy}", color=color)


def _sum(counts: dict[str, int]) -> str:
    if counts["fail"]:
        return f"{counts['fail']} must be mended, {counts['warn']} should be known, {counts['pass']} are well"
    return f"Forge can run here: {counts['pass']} are well" + (
        f", {counts['warn']} should be known" if counts["warn"] else ""
    )
