"""Signing in with an API key, and out again."""

from urllib.parse import urlsplit

from forge.accounts.v1 import session_service_pb2
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from services.chassis.errors import ForgeError, Kind
from services.chassis.identity import SESSION_COOKIE, Caller, request_id_in, service_caller
from services.web.adapters.contract import ask
from services.web.domain.words import when
from services.web.site import base_url_of, site_of
from services.web.viewer import viewer_of


async def show(request: Request) -> Response:
    """The form."""
    return site_of(request).page(request, "sign_in.html", next=_within(request.query_params.get("next", "")), wrong="")


async def sign_in(request: Request) -> Response:
    """Take a key, begin a session, and go on to where its owner wanted to."""
    site = site_of(request)
    form = await request.form()
    next_page = _within(str(form.get("next", "")))
    secret = session_service_pb2.CreateSessionRequest(secret=str(form.get("key", "")))
    try:
        session = await ask(site.contract.sessions.CreateSession, secret, _self(request))
    except ForgeError as error:
        if error.kind is not Kind.UNAUTHENTICATED:
            raise
        wrong = "This is no API key that works here. Look for typing errors, or ask for a new key."
        return site.page(request, "sign_in.html", status=401, next=next_page, wrong=wrong)
    response = RedirectResponse(next_page, 303)
    response.set_cookie(
        SESSION_COOKIE,
        session["token"],
        expires=when(session["expires_at"]),
        httponly=True,
        samesite="lax",
        secure=base_url_of(request).startswith("https:"),
    )
    return response


async def sign_out(request: Request) -> Response:
    """End the session."""
    site = site_of(request)
    if session_id := viewer_of(request).session_id:
        ended = session_service_pb2.EndSessionRequest(session_id=session_id)
        await ask(site.contract.sessions.EndSession, ended, _self(request))
    response = RedirectResponse("/", 303)
    response.delete_cookie(SESSION_COOKIE)
    return response


def _self(request: Request) -> Caller:
    """The web service itself, because of a request."""
    return service_caller("web", request_id=request_id_in(request.headers))


def _within(address: str) -> str:
    """An address of this site; the first page for every other one."""
    parts = urlsplit(address)
    is_ours = not parts.scheme and not parts.netloc and address.startswith("/") and "\\" not in address
    return address if is_ours and not address.startswith("//") else "/"


ROUTES = [
    Route("/sign-in", show, methods=["GET"]),
    Route("/sign-in", sign_in, methods=["POST"]),
    Route("/sign-out", sign_out, methods=["POST"]),
]
