"""Who is calling, as the edge vouches for it, and whether the contract lets them."""

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from forge.common.v1 import access_pb2
from google.protobuf import descriptor_pool

from services.chassis.errors import MissingScope, Unauthenticated

ACCOUNT_HEADER = "x-forge-account"
KEY_ID_HEADER = "x-forge-key-id"
SCOPES_HEADER = "x-forge-scopes"
SESSION_HEADER = "x-forge-session"
"""Identifier of the console's session, where the request came with one instead of a key."""
SESSION_COOKIE = "forge_session"
SERVICE_SCOPE = "service"
"""What only services of the platform may do; no API key holds it."""
_SERVICE_KEY = "service:"

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

    def may(self, scope: str) -> bool:
        """Whether the caller's scopes include `scope`."""
        return any(scope in IMPLIED_SCOPES.get(held, frozenset()) for held in self.scopes)

    def to_metadata(self) -> list[tuple[str, str]]:
        """The metadata one service sends another on behalf of this caller."""
        return [
            (ACCOUNT_HEADER, self.account),
            (KEY_ID_HEADER, self.key_id),
            (SCOPES_HEADER, ",".join(sorted(self.scopes))),
        ]


_caller: ContextVar[Caller] = ContextVar("caller")


def caller() -> Caller:
    """The caller of the RPC that is running."""
    try:
        return _caller.get()
    except LookupError:
        raise Unauthenticated from None


def service_caller(service: str) -> Caller:
    """The identity a service uses for calls of its own."""
    return Caller(
        account="forge-internal", key_id=f"{_SERVICE_KEY}{service}", scopes=frozenset({"admin", SERVICE_SCOPE})
    )


def caller_in(headers: Mapping[str, str]) -> Caller | None:
    """The caller that the edge, or a sibling, names in the headers of a request; None when it names none."""
    if not headers.get(ACCOUNT_HEADER):
        return None
    return Caller(
        account=headers[ACCOUNT_HEADER],
        key_id=headers.get(KEY_ID_HEADER, ""),
        scopes=frozenset(filter(None, headers.get(SCOPES_HEADER, "").split(","))),
    )


def is_service(headers: Mapping[str, str]) -> bool:
    """Whether a service of the platform calls on its own account."""
    return headers.get(KEY_ID_HEADER, "").startswith(_SERVICE_KEY)


def admit(method: str, metadata: Iterable[tuple[str, str | bytes]] | None) -> None:
    """Let an RPC in, or raise Unauthenticated or MissingScope.

    `method` is "/package.Service/Method". Methods without a required scope (health, reflection, the worker) are open to
    whoever reaches the port: services listen where only the edge and their siblings do.
    """
    scope = required_scope(method)
    if scope is None:
        return
    found = caller_in({key: value for key, value in metadata or () if isinstance(value, str)})
    if found is None:
        raise Unauthenticated
    if not found.may(scope):
        raise MissingScope(scope)
    _caller.set(found)


def required_scope(method: str) -> str | None:
    """The scope the contract demands for "/package.Service/Method"; None for a method that demands none."""
    try:
        descriptor = descriptor_pool.Default().FindMethodByName(method.strip("/").replace("/", "."))
    except KeyError:
        return None
    return descriptor.GetOptions().Extensions[access_pb2.required_scope] or None
