"""Who looks at a page, as the edge vouches for it."""

from dataclasses import dataclass

from starlette.requests import Request

from services.chassis import identity
from services.chassis.errors import MissingScope, Unauthenticated
from services.chassis.identity import Caller

VISITOR = Caller(account="visitor", key_id="", scopes=frozenset({"read"}))
"""Somebody without a session. The account owns nothing, so that all there is to read is what everybody may."""


@dataclass(frozen=True)
class Viewer:
    """Somebody in front of a page."""

    caller: Caller
    session_id: str = ""

    @property
    def is_known(self) -> bool:
        """Whether they are signed in."""
        return self.caller is not VISITOR

    def may(self, scope: str) -> bool:
        """Whether they are signed in with a key that allows `scope`."""
        return self.is_known and self.caller.may(scope)


def viewer_of(request: Request) -> Viewer:
    """Who sent a request."""
    caller = identity.caller_in(request.headers)
    if caller is None:
        return Viewer(VISITOR)
    return Viewer(caller, request.headers.get(identity.SESSION_HEADER, ""))


def known_viewer_of(request: Request, scope: str = "read") -> Viewer:
    """Who sent a request. Raises Unauthenticated for a visitor, MissingScope for a key that does not allow `scope`."""
    viewer = viewer_of(request)
    if not viewer.is_known:
        raise Unauthenticated
    if not viewer.may(scope):
        raise MissingScope(scope)
    return viewer
