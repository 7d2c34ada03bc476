"""forge receipt, usage, prices: what renders have cost, what the account has used, and what devices cost."""

import asyncio
from datetime import date

import click
from forge.billing.v1.billing_estimate_service_pb2 import (
    GetReceiptRequest,
    GetUsageRequest,
    ListCalibrationsRequest,
    ListCalibrationsResponse,
    ListPricesRequest,
    Usage,
)
from forge.billing.v1.estimate_pb2 import Calibration
from forge.billing.v1.receipt_pb2 import Receipt, UsageRow
from rich.text import Text

from forge_cli import words
from forge_cli.client import Client, run_with
from forge_cli.completing import a_key, a_model, a_render
from forge_cli.options import client_options, json_option, wide_option
from forge_cli.settings import Settings
from forge_cli.tables import Column, show_columns
from forge_cli.times import DayType


@click.command()
@click.argument("render_id", metavar="ID", shell_complete=a_render)
@json_option
@client_options
def receipt(settings: Settings, render_id: str, as_json: bool) -> None:
    """Show what a render took and cost, attempt by attempt, and how far its estimate was off."""
    request = GetReceiptRequest(render_id=render_id)
    found = run_with(settings, lambda client: client.call(client.estimates.GetReceipt, request))
    if as_json:
        words.show_json(found)
        return
    console = words.stdout_console()
    console.print(Text(f"{found.render_id}  {found.slug} {found.model_version}  {found.status}", style="bold"))
    words.show_table(
        console,
        ["ATTEMPT", "TARGET", "ENDED", "PHASE", ">DEVICE TIME", ">$/GPU-HOUR", ">COST"],
        _lines(found),
        empty="nothing has been used",
    )
    for line in filter(None, (_estimated(found), "" if found.is_final else "more may be added: it has not ended yet")):
        console.print(Text(line), soft_wrap=True)


def _lines(found: Receipt) -> list[list[str]]:
    rows: list[list[str]] = []
    shown = 0
    for line in found.lines:
        place = f"{line.gpu_type} {line.region}{' (simulated)' if line.simulated else ''}"
        head = ["", "", ""] if line.attempt == shown else [str(line.attempt), place, line.outcome]
        shown = line.attempt
        hourly, cost = words.known(line, "cost_per_gpu_hour_usd"), words.known(line, "cost_usd")
        rows.append(
            [*head, line.phase, words.seconds(line.gpu_seconds), words.dollars(hourly), words.exact_dollars(cost)],
        )
    if rows:
        total = words.exact_dollars(words.known(found, "cost_usd"))
        rows.append(["total", "", "", "", words.seconds(found.gpu_seconds), "", total])
    return rows


def _estimated(found: Receipt) -> str:
    """What was expected, and how far that was off where the render says so."""
    if not found.HasField("estimated_gpu_seconds"):
        return "there was no estimate"
    expected = f"estimated at {words.seconds(found.estimated_gpu_seconds)}"
    if found.HasField("estimated_gpu_seconds_p90"):
        expected += f", in nine of ten cases at most {words.seconds(found.estimated_gpu_seconds_p90)}"
    if found.HasField("estimated_cost_usd"):
        expected += f", and {words.dollars(found.estimated_cost_usd)}"
    if not found.HasField("estimate_error"):
        return expected
    return f"{expected}; it took {_longer(found.estimate_error)}"


def _longer(error: float) -> str:
    percent = words.share(abs(error))
    return "as long" if percent == "0 %" else f"{percent} {'longer' if error > 0 else 'less'}"


@click.command()
@click.option("--since", type=DayType(), help="First day in UTC: 2030-01-31, or 7d. [default: 30 days ago]")
@click.option("--until", type=DayType(), help="Last day in UTC. [default: today]")
@click.option("--model", default="", shell_complete=a_model, help="Only this model.")
@click.option("--key", "key_id", metavar="ID", default="", shell_complete=a_key, help="Only this API key.")
@wide_option
@json_option
@client_options
def usage(
    settings: Settings, since: date | None, until: date | None, model: str, key_id: str, is_wide: bool, as_json: bool
) -> None:
    """Show what the account has used, by day, model and key, and how far estimates were off lately."""
    request = GetUsageRequest(
        since=since.isoformat() if since else "",
        until=until.isoformat() if until else "",
        model=model,
        api_key_id=key_id,
    )

    async def ask(client: Client) -> tuple[Usage, ListCalibrationsResponse]:
        return await asyncio.gather(
            client.call(client.estimates.GetUsage, request),
            client.call(client.estimates.ListCalibrations, ListCalibrationsRequest()),
        )

    found, calibrations = run_with(settings, ask)
    if as_json:
        words.show_json(found)
        return
    console = words.stdout_console()
    if found.rows:
        show_columns(console, _used(found), is_wide=is_wide)
    else:
        console.print(Text(f"nothing was used from {found.since} to {found.until}"))
    console.print(Text(_off(calibrations.overall)), soft_wrap=True)


def _used(found: Usage) -> list[Column]:
    """A row for each day, model and key, and their sum."""
    total = UsageRow(
        day="total",
        renders=found.renders,
        attempts=sum(row.attempts for row in found.rows),
        gpu_seconds=found.gpu_seconds,
        cost_usd=found.cost_usd,
    )
    rows = [*found.rows, total]
    return [
        Column("DAY", [row.day for row in rows], is_number=False),
        Column("MODEL", [row.slug for row in rows], is_number=False),
        Column("VERSION", [row.model_version for row in rows], is_number=False, sparable=2),
        Column("KEY", [row.api_key_id for row in rows], is_number=False, sparable=3),
        Column("RENDERS", [str(row.renders) for row in rows]),
        Column("ATTEMPTS", [str(row.attempts) for row in rows], sparable=1),
        Column("DEVICE TIME", [words.seconds(row.gpu_seconds) for row in rows]),
        Column("COST", [words.exact_dollars(row.cost_usd) for row in rows]),
    ]


def _off(overall: Calibration) -> str:
    if not overall.sample_count:
        return "no render has been compared with its estimate yet"
    return (
        f"estimates of the last {overall.sample_count} renders were off by "
        f"{words.share(overall.median_absolute_error)} in the median: renders took {_longer(overall.median_error)}; "
        f"{words.share(overall.share_within_p90)} stayed within what nine of ten should"
    )


@click.command()
@click.option("--all", "is_whole", is_flag=True, help="Past and future prices too.")
@json_option
@client_options
def prices(settings: Settings, is_whole: bool, as_json: bool) -> None:
    """List what one device costs for an hour."""
    request = ListPricesRequest(all=is_whole)
    found = run_with(settings, lambda client: client.call(client.estimates.ListPrices, request))
    if as_json:
        words.show_json(found)
        return
    rows = [
        [
            f"{price.gpu_type} {price.region}",
            words.dollars(price.cost_per_gpu_hour_usd),
            words.moment(price.valid_from),
            words.moment(price.valid_until),
            price.source,
        ]
        for price in found.prices
    ]
    columns = ["TARGET", ">$/GPU-HOUR", "FROM", "UNTIL", "SOURCE"]
    words.show_table(words.stdout_console(), columns, rows, empty="the price book is empty")
