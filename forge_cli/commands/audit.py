"""forge audit: who changed what."""

from datetime import datetime

import click
from forge.accounts.v1.audit_pb2 import AuditEvent
from forge.accounts.v1.audit_service_pb2 import ListAuditEventsRequest

from forge_cli import words
from forge_cli.client import Client, run_with
from forge_cli.completing import a_key
from forge_cli.options import client_options, json_option
from forge_cli.settings import Settings
from forge_cli.times import PastMomentType

_PAGE_SIZE = 100


@click.command()
@click.option(
    "--key", "api_key_id", metavar="ID", default="", shell_complete=a_key, help="Keep calls made with this key."
)
@click.option("--method", metavar="NAME", default="", help="Keep calls of this method, for example CreateRender.")
@click.option("--resource", metavar="ID", default="", help="Keep calls about this render, key, model, webhook, …")
@click.option("--since", type=PastMomentType(), metavar="TIME", help="Keep calls since then: 2d ago, or a time.")
@click.option("--until", type=PastMomentType(), metavar="TIME", help="Keep calls before then.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many to list.")
@json_option
@client_options
def audit(
    settings: Settings,
    api_key_id: str,
    method: str,
    resource: str,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List who changed what in the account, newest first.

    Calls that were refused or failed are listed too, with the reason.
    """
    request = ListAuditEventsRequest(method=method, api_key_id=api_key_id, resource=resource)
    for field, moment in ((request.since, since), (request.until, until)):
        if moment is not None:
            field.FromDatetime(moment)
    found = run_with(settings, lambda client: _pages(client, request, limit))
    if as_json:
        words.show_json(found)
        return
    columns = ["WHEN", "METHOD", "ABOUT", "OUTCOME", "KEY", "SESSION", ">TOOK", "TRACE"]
    words.show_table(words.stdout_console(), columns, [_row(event) for event in found], empty="nothing was changed")


async def _pages(client: Client, request: ListAuditEventsRequest, limit: int) -> list[AuditEvent]:
    """At most `limit` events, however many pages they are on."""
    found: list[AuditEvent] = []
    while len(found) < limit:
        request.page_size = min(limit - len(found), _PAGE_SIZE)
        page = await client.call(client.audit.ListAuditEvents, request)
        found += page.events
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    return found


def _row(event: AuditEvent) -> list[str]:
    return [
        words.moment(event.occurred_at),
        event.method.rpartition("/")[2],
        ", ".join(event.resources) or words.NOT_KNOWN,
        event.outcome,
        event.api_key_id,
        event.session_id,
        words.measured_ms(event, "took_ms"),
        event.trace_id,
    ]
