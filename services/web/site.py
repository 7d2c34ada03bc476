"""What every page is made with: templates, the contract, and how the outcome becomes a response."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToJson
from jinja2 import Environment, FileSystemLoader, Undefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from services.chassis.errors import ForgeError, Kind, Unauthenticated
from services.chassis.status import to_status
from services.web.adapters.contract import Contract
from services.web.adapters.signed_links import SignedLinks
from services.web.config import WebSettings
from services.web.domain import words
from services.web.viewer import Viewer, viewer_of

HERE = Path(__file__).parent
STATIC = HERE / "static"

HTTP_CODES: Mapping[Kind, int] = {
    Kind.INVALID: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.EXHAUSTED: 429,
    Kind.UNAVAILABLE: 503,
    Kind.INTERNAL: 500,
}
_WORDS = (
    words.seconds,
    words.milliseconds,
    words.age,
    words.dollars,
    words.exact_dollars,
    words.share,
    words.difference,
    words.gib,
    words.size,
    words.target,
    words.moment,
    words.reason,
    words.count,
)


class Site:
    """The contract, the settings, the templates, and what signs links to videos, of one installation."""

    def __init__(self, contract: Contract, settings: WebSettings, links: SignedLinks) -> None:
        self.contract = contract
        self.settings = settings
        self.links = links
        self._templates = _templates()

    def page(self, request: Request, template: str, *, status: int = 200, **facts: Any) -> Response:
        """A page from `template`. It finds who looks at it as `viewer`, and its own address as `path` and `query`."""
        html = self._templates.get_template(template).render(
            viewer=viewer_of(request),
            path=request.url.path,
            query=dict(request.query_params),
            base_url=base_url_of(request),
            **facts,
        )
        return HTMLResponse(html, status_code=status)


def site_of(request: Request) -> Site:
    """The site a request was sent to."""
    return request.app.state.site


def reader_of(request: Request) -> Viewer:
    """Who looks at a page that visitors may see too. Raises Unauthenticated where the installation forbids that."""
    viewer = viewer_of(request)
    if not (viewer.is_known or site_of(request).settings.public_catalogue):
        raise Unauthenticated
    return viewer


def base_url_of(request: Request) -> str:
    """The installation's address as the browser has it."""
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme)
    return f"{scheme}://{request.headers.get('host', 'localhost')}"


def error_as_json(error: ForgeError) -> Response:
    """An error as the API writes it."""
    status = to_status(error)
    body = MessageToJson(
        status, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=None
    )
    headers = (
        {} if error.retry_after_seconds is None else {"retry-after": f"{max(1, round(error.retry_after_seconds))}"}
    )
    return Response(body, HTTP_CODES[error.kind], headers, "application/json")


@cache
def asset(name: str) -> str:
    """The address of a static file; it changes with the file, so that browsers may keep it for ever."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["asset"] = asset
    for filter_ in _WORDS:
        environment.filters[filter_.__name__] = _absent_is_none(filter_)
    return environment


def _absent_is_none(filter_: Any) -> Any:
    """A filter that takes what the contract leaves out for None."""

    def filtered(value: Any, *more: Any) -> str:
        return filter_(None if isinstance(value, Undefined) else value, *more)

    return filtered
