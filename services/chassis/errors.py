"""Errors as facts with names. They know no transport; `status.py` does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a caller can do about an error."""

    INVALID = "invalid"
    """Change the request."""
    UNAUTHENTICATED = "unauthenticated"
    """Send a valid key."""
    FORBIDDEN = "forbidden"
    """Use a key that allows the call."""
    NOT_FOUND = "not_found"
    """Name something that exists."""
    CONFLICT = "conflict"
    """Look at the present state first."""
    EXHAUSTED = "exhausted"
    """Come back later, or ask for less."""
    UNAVAILABLE = "unavailable"
    """Try again."""
    INTERNAL = "internal"
    """Report it."""


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with one field, and how to mend it."""

    field: str
    description: str


class ForgeError(Exception):
    """An error of the contract.

    `reason` is a name of `forge.common.v1.ErrorReason` without its prefix. `metadata` holds further facts for programs;
    `resource` is (type, name) of what was not found; `retry_after_seconds` when trying again makes sense.
    """

    kind: Kind = Kind.INTERNAL
    reason: str = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        kind: Kind | None = None,
        reason: str | None = None,
        violations: Sequence[Violation] = (),
        metadata: Mapping[str, str] | None = None,
        resource: tuple[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind or type(self).kind
        self.reason = reason or type(self).reason
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        self.resource = resource
        self.retry_after_seconds = retry_after_seconds


class InvalidInput(ForgeError):
    """Fields of the request are wrong; all of them are listed."""

    kind = Kind.INVALID
    reason = "INVALID_INPUT"

    def __init__(self, violations: Sequence[Violation]) -> None:
        listed = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        super().__init__(f"invalid input: {listed}", violations=violations)


class MalformedRequest(ForgeError):
    """The request is no message of the contract."""

    kind = Kind.INVALID
    reason = "MALFORMED_REQUEST"


class Unauthenticated(ForgeError):
    """Nobody vouches for the caller."""

    kind = Kind.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"

    def __init__(self) -> None:
        super().__init__("a valid API key is needed: send it as 'Authorization: Bearer …'")


class MissingScope(ForgeError):
    """The caller's key does not allow the call."""

    kind = Kind.FORBIDDEN
    reason = "MISSING_SCOPE"

    def __init__(self, required_scope: str) -> None:
        super().__init__(
            f"this call needs an API key with the scope '{required_scope}'", metadata={"required_scope": required_scope}
        )


class ServiceUnavailable(ForgeError):
    """A service this call needs does not answer."""

    kind = Kind.UNAVAILABLE
    reason = "SERVICE_UNAVAILABLE"

    def __init__(self, service: str) -> None:
        super().__init__(f"{service} does not answer; try again", retry_after_seconds=1.0)
