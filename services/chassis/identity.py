"""Who is calling, as the edge vouches for it, and whether the contract lets them."""

import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from forge.common.v1 import access_pb2
from google.protobuf import descriptor_pool

from services.chassis import trust
from services.chassis.errors import MissingScope, Unauthenticated

ACCOUNT_HEADER = "x-forge-account"
KEY_ID_HEADER = "x-forge-key-id"
SCOPES_HEADER = "x-forge-scopes"
SESSION_HEADER = "x-forge-session"
"""Identifier of the console's session, where the request came with one instead of a key."""
SESSION_COOKIE = "forge_session"
REQUEST_ID_HEADER = "x-request-id"
SERVICE_SCOPE = "service"
"""What only services of the platform may do; no API key holds it."""
_SERVICE_KEY = "service:"
_REQUEST_ID = re.compile(r"[0-9A-Za-z._:-]{1,64}")

# What each scope lets its holder do.
IMPLIED_SCOPES: Mapping[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "inference": frozenset({"inference", "read"}),
    "admin": frozenset({"admin", "inference", "read"}),
    SERVICE_SCOPE: frozenset({SERVICE_SCOPE}),
}


@dataclass(frozen=True)
class Caller:
    """The account and key behind a call. The edge sets it from the API key; clients cannot."""

    account: str
    key_id: str
    scopes: frozenset[str]
    session_id: str = ""
    """The console's session that stood for the key; empty where the key itself was shown."""
    request_id: str = ""
    """Id of the request at the edge that the call belongs to; empty for what services do by themselves."""

    def may(self, scope: str) -> bool:
        """Whether the caller's scopes include `scope`."""
        return any(scope in IMPLIED_SCOPES.get(held, frozenset()) for held in self.scopes)

    def to_metadata(self) -> list[tuple[str, str]]:
        """The metadata one service sends another on behalf of this caller."""
        metadata = [
            (ACCOUNT_HEADER, self.account),
            (KEY_ID_HEADER, self.key_id),
            (SCOPES_HEADER, ",".join(sorted(self.scopes))),
        ]
        further = ((SESSION_HEADER, self.session_id), (REQUEST_ID_HEADER, self.request_id))
        return metadata + [(name, value) for name, value in further if value]


_caller: ContextVar[Caller] = ContextVar("caller")


def caller() -> Caller:
    """The caller of the RPC that is running."""
    try:
        return _caller.get()
    except LookupError:
        raise Unauthenticated from None


def speak_for(found: Caller) -> None:
    """Go on with the RPC that is running in the name of another caller than the one who made the call."""
    _caller.set(found)


def service_caller(service: str, request_id: str = "") -> Caller:
    """The identity a service uses for calls of its own, perhaps because of a request at the edge."""
    scopes = frozenset({"admin", SERVICE_SCOPE})
    return Caller("forge-internal", f"{_SERVICE_KEY}{service}", scopes, request_id=request_id)


def caller_in(headers: Mapping[str, str]) -> Caller | None:
    """The caller that the edge, or a sibling, names in the headers of a request; None when it names none."""
    if not headers.get(ACCOUNT_HEADER):
        return None
    return Caller(
        account=headers[ACCOUNT_HEADER],
        key_id=headers.get(KEY_ID_HEADER, ""),
        scopes=frozenset(filter(None, headers.get(SCOPES_HEADER, "").split(","))),
        session_id=headers.get(SESSION_HEADER, ""),
        request_id=request_id_in(headers),
    )


def request_id_in(headers: Mapping[str, str]) -> str:
    """The id of a request at the edge. Clients may choose it: what is not like one is neither passed on nor kept."""
    header = headers.get(REQUEST_ID_HEADER, "")
    return header if _REQUEST_ID.fullmatch(header) else ""


def is_service(headers: Mapping[str, str]) -> bool:
    """Whether a service of the platform calls on its own account."""
    return headers.get(KEY_ID_HEADER, "").startswith(_SERVICE_KEY)


def admit(method: str, metadata: Iterable[tuple[str, str | bytes]] | None, peer: str = trust.UNPROVEN) -> None:
    """Let an RPC in, or raise Unauthenticated or MissingScope.

    `method` is "/package.Service/Method", `peer` what the caller's certificate proves. The edge and services are
    believed what they say of the key behind a call, and a service that it calls on its own account; a worker nothing.
    Methods without a required scope (health, reflection) are open to every program with a certificate.
    """
    scope = required_scope(method)
    if scope is None:
        return
    found = caller_in({key: value for key, value in metadata or () if isinstance(value, str)})
    if found is None or not _is_believed(found, peer):
        raise Unauthenticated
    _caller.set(found)
    if not found.may(scope):
        raise MissingScope(scope)


def _is_believed(found: Caller, peer: str) -> bool:
    """Whether `peer` may speak in the name of this caller."""
    if found.key_id.startswith(_SERVICE_KEY):
        return trust.is_service(peer, found.key_id.removeprefix(_SERVICE_KEY))
    return trust.speaks_for_keys(peer) and SERVICE_SCOPE not in found.scopes


def required_scope(method: str) -> str | None:
    """The scope the contract demands for "/package.Service/Method"; None for a method that demands none."""
    try:
        descriptor = descriptor_pool.Default().FindMethodByName(method.strip("/").replace("/", "."))
    except KeyError:
        return None
    return descriptor.GetOptions().Extensions[access_pb2.required_scope] or None
