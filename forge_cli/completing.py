"""What can be typed next: names that the platform has, asked for quickly, and nothing where it does not answer."""

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlencode

import click
from click.shell_completion import CompletionItem

from forge_cli.failures import CommandFailed
from forge_cli.home import Home
from forge_cli.settings import is_loopback, load

_SECONDS = 1.0
_MOST = 50

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Row = dict[str, Any]


def _completer(path: str, rows: Callable[[Any], Iterable[tuple[str, str]]], **query: object) -> Completer:
    """Offers what a GET of the REST API lists. `rows` makes values and their meanings of its answer."""

    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            answer = _ask(ctx, f"{path}?{urlencode(query)}" if query else path)
            found = dict(rows(answer))
        except (OSError, ValueError, KeyError, TypeError, CommandFailed):
            return []  # whoever presses a key wants no error there
        return [CompletionItem(name, help=told or None) for name, told in found.items() if name.startswith(incomplete)]

    return complete


def _ask(ctx: click.Context, path: str) -> Any:
    """An answer of the API that the line typed so far would talk to."""
    import urllib.request  # here, and nothing larger: every command imports this module, and a key waits for it

    given = ctx.params
    home = Home.at(given.get("home"))
    settings = load(home, api_base=given.get("api_base"), api_key=given.get("api_key"))
    request = urllib.request.Request(f"{settings.api_base}/v1/{path}")  # noqa: S310 — settings allow http and https only
    if settings.api_key:
        request.add_header("authorization", f"Bearer {settings.api_key}")
    handlers = [urllib.request.ProxyHandler({})] if is_loopback(settings.api_base) else []
    with urllib.request.build_opener(*handlers).open(request, timeout=_SECONDS) as answer:
        return json.load(answer)


def _models(found: Any) -> Iterable[tuple[str, str]]:
    return ((model["slug"], model.get("title", "")) for model in found["models"])


def _renders(found: Any) -> Iterable[tuple[str, str]]:
    return ((render["id"], f"{render['status']} {render['slug']}") for render in found["renders"])


def _probes(found: Any) -> Iterable[tuple[str, str]]:
    return ((probe["id"], f"{probe['status']} {probe['slug']}") for probe in found["probes"])


def _keys(found: Any) -> Iterable[tuple[str, str]]:
    return ((key["id"], key["name"]) for key in found["api_keys"] if not key.get("revoked_at"))


def _webhooks(found: Any) -> Iterable[tuple[str, str]]:
    return ((webhook["id"], webhook["url"]) for webhook in found["webhooks"])


def _deliveries(found: Any) -> Iterable[tuple[str, str]]:
    return ((one["id"], f"{one['state']} {one['render_id']}") for one in found["deliveries"])


def _uploads(found: Any) -> Iterable[tuple[str, str]]:
    return ((one["id"], one["media_type"]) for one in found["uploads"])


def _gpu_types(found: Any) -> Iterable[tuple[str, str]]:
    return ((target["gpu_type"], "") for target in found["targets"])


def _regions(found: Any) -> Iterable[tuple[str, str]]:
    return ((target["region"], "") for target in found["targets"])


a_model = _completer("models", _models, page_size=100)
a_render = _completer("renders", _renders, page_size=_MOST)
a_paused_render = _completer("renders", _renders, page_size=_MOST, status="paused")
a_probe = _completer("probes", _probes, page_size=_MOST)
a_key = _completer("api-keys", _keys)
a_webhook = _completer("webhooks", _webhooks)
a_delivery = _completer("webhook-deliveries", _deliveries, page_size=_MOST)
an_upload = _completer("uploads", _uploads)
a_gpu_type = _completer("capacity", _gpu_types)
a_region = _completer("capacity", _regions)
