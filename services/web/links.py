"""Links to videos for those who have no key: signed, for a while, for one video."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from forge.scheduler.v1 import render_service_pb2
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from services.chassis.errors import ForgeError, InvalidInput, Kind, MalformedRequest, Violation
from services.chassis.identity import Caller
from services.web.adapters.contract import ask
from services.web.adapters.signed_links import Link
from services.web.media import video_response
from services.web.site import site_of
from services.web.viewer import known_viewer_of

LEAST_SECONDS, DEFAULT_SECONDS, MOST_SECONDS = 60, 3600, 7 * 24 * 3600
MOST_SECONDS_ELSEWHERE = 900
"""How long an address in the object store is valid at most, which a link leads on to."""

_UNKNOWN = "This link is not valid: it was cut short or changed on its way, or it is from another installation."
_GONE = "The video that this link led to is no longer there."
_EXPIRED = "This link has expired. Ask whoever sent it for a new one."


async def make(request: Request) -> Response:
    """A link to the finished video of a render of the caller's."""
    caller, site = known_viewer_of(request).caller, site_of(request)
    seconds = ttl_seconds(await request.body())
    wanted = render_service_pb2.GetRenderRequest(render_id=request.path_params["render_id"])
    render = await ask(site.contract.renders.GetRender, wanted, caller)
    if "output" not in render:
        raise ForgeError(
            f"render '{render['id']}' is {render['status']}: links lead to finished videos",
            kind=Kind.NOT_FOUND,
            reason="VIDEO_NOT_READY",
            resource=("video", render["id"]),
        )
    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
    token = site.links.token(Link(caller.account, render["id"], expires_at))
    return JSONResponse({"url": f"/links/{token}", "expires_at": expires_at.isoformat().replace("+00:00", "Z")})


async def follow(request: Request) -> Response:
    """The video that a link leads to."""
    link = site_of(request).links.link(request.path_params["token"])
    if link is None:
        return _refused(request, 404, _UNKNOWN)
    if link.expires_at <= datetime.now(UTC):
        return _refused(request, 410, _EXPIRED)
    opener = Caller(link.account, "", frozenset({"read"}))
    try:
        is_read = request.method == "GET"  # what is signed is the method too
        if is_read and (address := await _address(request, link, opener)):
            return RedirectResponse(address, 302, {"cache-control": "no-store"})
        return await video_response(request, opener, link.render_id, as_attachment=True)
    except ForgeError as error:
        if error.kind is not Kind.NOT_FOUND:
            raise
        return _refused(request, 404, _GONE)


async def _address(request: Request, link: Link, opener: Caller) -> str:
    """Where the object store gives the video, no longer than the link; empty when it does not. Raises ForgeError."""
    left_seconds = (link.expires_at - datetime.now(UTC)).total_seconds()
    wanted = render_service_pb2.GetVideoAddressRequest(
        render_id=link.render_id, valid_seconds=max(1, min(MOST_SECONDS_ELSEWHERE, int(left_seconds)))
    )
    address = await ask(site_of(request).contract.renders.GetVideoAddress, wanted, opener)
    return str(address.get("url", ""))


def ttl_seconds(body: bytes) -> int:
    """How long a link is to open its video, from the body that asks for it. Raises InvalidInput."""
    try:
        asked: Any = json.loads(body) if body.strip() else {}
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise MalformedRequest('the body must be a JSON object, such as {"ttl_seconds": 3600}')
    violations = [
        Violation(str(name)[:100], "is not known; use ttl_seconds") for name in asked if name != "ttl_seconds"
    ]
    seconds = asked.get("ttl_seconds", DEFAULT_SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        violations.append(
            Violation("ttl_seconds", f"must be a whole number from {LEAST_SECONDS} to {MOST_SECONDS}, or be left out")
        )
    if violations:
        raise InvalidInput(violations)
    return seconds


def _refused(request: Request, status: int, text: str) -> Response:
    if "text/html" in request.headers.get("accept", ""):
        return site_of(request).page(request, "error.html", status=status, code=status, text=text)
    return PlainTextResponse(f"{text}\n", status)


ROUTES = [
    Route("/v1/renders/{render_id}/video-links", make, methods=["POST"]),
    Route("/links/{token}", follow),
]
