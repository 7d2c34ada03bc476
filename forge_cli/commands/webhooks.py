"""forge webhooks: addresses that are told of renders, and what became of the messages to them."""

import click
from forge.scheduler.v1.webhook_service_pb2 import (
    CreateWebhookRequest,
    DeleteWebhookRequest,
    ListDeliveriesRequest,
    ListWebhooksRequest,
    ReplayDeliveryRequest,
)

from forge_cli import words
from forge_cli.client import run_with
from forge_cli.completing import a_delivery, a_model, a_webhook
from forge_cli.options import client_options, json_option
from forge_cli.settings import Settings


@click.group()
def webhooks() -> None:
    """Have an address told of renders, and see what became of it."""


@webhooks.command()
@click.argument("url")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    help="A status to tell of, for example failed; may be repeated. [default: all that are final]",
)
@click.option("--model", default="", shell_complete=a_model, help="Only renders of this model.")
@json_option
@client_options
def create(settings: Settings, url: str, statuses: tuple[str, ...], model: str, as_json: bool) -> None:
    """Have URL told of the account's renders, and show the secret that its messages are signed with, this once."""
    request = CreateWebhookRequest(url=url, statuses=statuses, model=model)
    made = run_with(settings, lambda client: client.call(client.webhooks.CreateWebhook, request, retry_seconds=0))
    if as_json:
        words.show_json(made)
        return
    told = ", ".join(made.webhook.statuses)
    click.echo(f"{made.webhook.id} is told of: {told}; the signing secret is shown only now:", err=True)
    click.echo(made.secret)


@webhooks.command("list")
@json_option
@client_options
def list_webhooks(settings: Settings, as_json: bool) -> None:
    """List the account's webhooks."""
    found = run_with(settings, lambda client: client.call(client.webhooks.ListWebhooks, ListWebhooksRequest()))
    if as_json:
        words.show_json(found)
        return
    rows = [
        [one.id, one.url, ", ".join(one.statuses), one.model or "all", words.moment(one.created_at)]
        for one in found.webhooks
    ]
    columns = ["ID", "URL", "TOLD OF", "MODEL", "MADE"]
    words.show_table(words.stdout_console(), columns, rows, empty="there are no webhooks")


@webhooks.command()
@click.argument("webhook_id", metavar="ID", shell_complete=a_webhook)
@json_option
@client_options
def delete(settings: Settings, webhook_id: str, as_json: bool) -> None:
    """Remove a webhook and what waits to be delivered to it."""
    request = DeleteWebhookRequest(webhook_id=webhook_id)
    found = run_with(settings, lambda client: client.call(client.webhooks.DeleteWebhook, request))
    if as_json:
        words.show_json(found)
        return
    click.echo(f"{webhook_id} is gone")


@webhooks.command()
@click.option("--state", default="", help="Keep those that are waiting, delivered or dead.")
@click.option(
    "--webhook", "webhook_id", metavar="ID", default="", shell_complete=a_webhook, help="Keep those to this webhook."
)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100), help="How many to list.")
@json_option
@client_options
def deliveries(settings: Settings, state: str, webhook_id: str, limit: int, as_json: bool) -> None:
    """List the newest messages to webhooks. A dead one was given up and can be replayed."""
    request = ListDeliveriesRequest(state=state, webhook_id=webhook_id, page_size=limit)
    found = run_with(settings, lambda client: client.call(client.webhooks.ListDeliveries, request))
    if as_json:
        words.show_json(found)
        return
    rows = [
        [
            one.id,
            one.webhook_id,
            f"{one.render_id} {one.status}",
            one.state,
            str(one.tries),
            one.last_answer,
            words.moment(one.created_at),
            words.moment(one.next_try_at) if one.HasField("next_try_at") else "",
        ]
        for one in found.deliveries
    ]
    columns = ["ID", "WEBHOOK", "TELLS OF", "STATE", ">TRIES", "LAST ANSWER", "HAPPENED", "NEXT TRY"]
    words.show_table(words.stdout_console(), columns, rows, empty="there are no deliveries")


@webhooks.command()
@click.argument("delivery_id", metavar="ID", shell_complete=a_delivery)
@json_option
@client_options
def replay(settings: Settings, delivery_id: str, as_json: bool) -> None:
    """Try a delivery again from the start, whatever became of it."""
    request = ReplayDeliveryRequest(delivery_id=delivery_id)
    found = run_with(settings, lambda client: client.call(client.webhooks.ReplayDelivery, request))
    if as_json:
        words.show_json(found)
        return
    click.echo(f"{found.id} is {found.state}")
