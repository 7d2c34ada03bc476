"""The web service as an ASGI application: its routes, and what holds for all of them."""

from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import quote

import structlog
from opentelemetry import context as otel_context
from opentelemetry import propagate
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.chassis.errors import ForgeError, Kind
from services.web import links, media, uploads
from services.web.pages import account, catalogue, docs, model, openapi, renders, sign_in, status
from services.web.site import HTTP_CODES, STATIC, Site, error_as_json, site_of
from services.web.videos import routes as videos

log = structlog.get_logger()

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def application(site: Site) -> Starlette:
    """Everything the web service answers."""
    app = Starlette(
        routes=[
            Route("/healthz", _healthz),
            *catalogue.ROUTES,
            *model.ROUTES,
            *renders.ROUTES,
            *account.ROUTES,
            *status.ROUTES,
            *docs.ROUTES,
            *openapi.ROUTES,
            *sign_in.ROUTES,
            *media.ROUTES,
            *links.ROUTES,
            *uploads.ROUTES,
            *videos.ROUTES,
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(_Traced), Middleware(_Guarded), Middleware(GZipMiddleware, minimum_size=1000)],
        exception_handlers={ForgeError: _answer_error, HTTPException: _answer_http, Exception: _answer_unexpected},
    )
    app.state.site = site
    return app


async def _healthz(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def _answer_error(request: Request, error: Exception) -> Response:
    error = cast("ForgeError", error)
    if request.url.path.startswith("/v1/"):
        return error_as_json(error)
    if error.kind is Kind.UNAUTHENTICATED:
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/sign-in?next={quote(here, safe='')}", 303)
    return _error_page(request, HTTP_CODES[error.kind], error.message)


async def _answer_http(request: Request, error: Exception) -> Response:
    error = cast("HTTPException", error)
    text = "There is no page at this address." if error.status_code == 404 else error.detail
    if request.url.path.startswith("/v1/"):
        kind = Kind.NOT_FOUND if error.status_code == 404 else Kind.INVALID
        reason = "ROUTE_NOT_FOUND" if error.status_code == 404 else "MALFORMED_REQUEST"
        return error_as_json(ForgeError(text, kind=kind, reason=reason))
    return _error_page(request, error.status_code, text)


async def _answer_unexpected(request: Request, error: Exception) -> Response:
    route = request.scope.get("route")  # its pattern: the path itself may be a signed link
    log.error("unexpected error", route=getattr(route, "path", ""), exc_info=error)
    unexpected = ForgeError("internal error")
    if request.url.path.startswith("/v1/"):
        return error_as_json(unexpected)
    return _error_page(request, 500, "Something went wrong here. It is in the log of the web service.")


def _error_page(request: Request, status: int, text: str) -> Response:
    return site_of(request).page(request, "error.html", status=status, code=status, text=text)


class _Guarded:
    """Headers that tell browsers what these pages never do; nothing but static files is kept by anybody else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_static = scope["path"].startswith("/static/")

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                kept = "public, max-age=31536000, immutable" if scope["query_string"].startswith(b"v=") else "no-cache"
                headers.setdefault("cache-control", kept if is_static else "private, no-cache")
            await send(message)

        await self._app(scope, receive, guarded)


class _Traced:
    """What a request leads to belongs to the trace it came with."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        carrier: dict[str, Any] = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        token = otel_context.attach(propagate.extract(carrier))
        try:
            await self._app(scope, receive, send)
        finally:
            otel_context.detach(token)
