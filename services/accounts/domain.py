"""API keys: how a secret is spelled, what a key is, and when it works."""

import binascii
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.accounts.rates import RateLimit
from services.chassis.errors import ForgeError, Kind, Violation

DEFAULT_ACCOUNT = "default"
SCOPES = ("read", "inference", "admin")
DEFAULT_SCOPES = frozenset({"read", "inference"})
MAX_NAME_LENGTH = 100
MIN_TTL = timedelta(seconds=60)
MAX_TTL = timedelta(days=36_500)
SESSION_TTL = timedelta(days=7)
DEFAULT_OVERLAP = timedelta(hours=24)
MAX_OVERLAP = timedelta(days=30)

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH = 32  # 190 bits
_CHECKSUM_LENGTH = 6  # 62 ** 6 is more than the 32 bits of a CRC
_SHOWN_LENGTH = 6  # of the random part: enough to tell keys apart, far too little to guess the rest
_ACCOUNT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_RESERVED_ACCOUNTS = "forge-"  # services call in the name of one that begins so
_SECRET = re.compile(rf"(forge_[a-z0-9]{{1,16}}_[0-9A-Za-z]{{{_RANDOM_LENGTH}}})([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})")


_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{32,510}={0,2}")  # as RFC 6750 has it


class ApiKeyNotFound(ForgeError):
    """The account has no such key."""

    kind = Kind.NOT_FOUND
    reason = "API_KEY_NOT_FOUND"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"this account has no API key '{key_id}'", resource=("forge.accounts.v1.ApiKey", key_id))


class ApiKeyEnded(ForgeError):
    """The key was revoked or has expired: it cannot be rotated any more."""

    kind = Kind.CONFLICT
    reason = "API_KEY_ENDED"

    def __init__(self, key: "ApiKey") -> None:
        ended_at = key.revoked_at or key.expires_at
        when = ended_at.isoformat(timespec="seconds").replace("+00:00", "Z") if ended_at else ""
        how = "was revoked" if key.revoked_at else "ended"
        super().__init__(
            f"API key '{key.id}' {how} at {when} and cannot be rotated; make a new one", metadata={"ended_at": when}
        )


class ApiKeyAlreadyRotated(ForgeError):
    """Another key has taken this one's place already."""

    kind = Kind.CONFLICT
    reason = "API_KEY_ALREADY_ROTATED"

    def __init__(self, key_id: str, replaced_by: str) -> None:
        super().__init__(
            f"API key '{key_id}' was rotated before: '{replaced_by}' takes its place; rotate that, or revoke it first",
            metadata={"replaced_by": replaced_by},
        )


@dataclass(frozen=True)
class ApiKey:
    """A key as it is kept: never with its secret."""

    id: str
    account: str
    name: str
    prefix: str
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    lifetime: timedelta | None = None
    """How long it was made to work; None for ever. An overlap may end it sooner."""
    rate_limit: RateLimit | None = None
    """Its own; None where the installation's counts."""
    replaces: str | None = None
    """The key whose place it takes."""
    replaced_by: str | None = None
    """The key that takes its place."""

    def works_at(self, now: datetime) -> bool:
        """Whether the key opens anything at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def end_after(self, overlap: timedelta, now: datetime) -> datetime:
        """When it ends once it is rotated: after the overlap, and never later than it would have."""
        return now + overlap if self.expires_at is None else min(now + overlap, self.expires_at)


@dataclass(frozen=True)
class Session:
    """A browser that was let in with a key. It can do what the key can, and ends with it."""

    id: str
    key: ApiKey
    expires_at: datetime

    def works_at(self, now: datetime) -> bool:
        """Whether the session opens anything at `now`."""
        return now < self.expires_at and self.key.works_at(now)


class CrossOrigin(ForgeError):
    """A page of another origin tries to use a visitor's session."""

    kind = Kind.FORBIDDEN
    reason = "CROSS_ORIGIN"

    def __init__(self) -> None:
        super().__init__(
            "a session changes things only from its own pages; send an API key as 'Authorization: Bearer …'"
        )


@dataclass(frozen=True)
class Knock:
    """A request at the edge, as far as it matters for whether it may pass. Headers are empty where absent."""

    method: str = "GET"
    host: str = ""
    authorization: str = ""
    session_token: str = ""
    origin: str = ""
    fetch_site: str = ""
    is_public: bool = False
    """Whether its route is open to those who are not known."""

    @property
    def is_bearer(self) -> bool:
        """Whether it shows a key, which no browser adds by itself."""
        return bool(self.authorization)

    @property
    def may_be_forged(self) -> bool:
        """Whether it changes something and a page of another origin may have made the browser send it."""
        if self.method in ("GET", "HEAD", "OPTIONS") or self.is_bearer:
            return False
        if self.fetch_site:
            return self.fetch_site not in ("same-origin", "none")
        return self.origin.partition("://")[2] != self.host


def new_secret(environment: str) -> str:
    """A secret nobody has seen: forge_<environment>_<random><checksum>."""
    body = f"forge_{environment}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return body + checksum(body)


def checksum(body: str) -> str:
    """Six characters that a mistyped or shortened secret fails, so that it is refused without a look-up."""
    number = binascii.crc32(body.encode())
    digits = []
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def is_well_formed(secret: str) -> bool:
    """Whether `secret` has the form of a key and its checksum is right."""
    match = _SECRET.fullmatch(secret)
    return match is not None and secrets.compare_digest(checksum(match[1]), match[2])


def is_token(secret: str) -> bool:
    """Whether an operator may choose `secret`: long enough not to be guessed, and fit for a header."""
    return _TOKEN.fullmatch(secret) is not None


def shown_prefix(secret: str) -> str:
    """The start of a secret, to recognise it by."""
    begins = secret.rindex("_") + 1 if is_well_formed(secret) else 0
    return secret[: begins + _SHOWN_LENGTH]


def violations_of(
    name: str, scopes: Sequence[str], ttl: timedelta | None, rate_limit: RateLimit | None = None
) -> list[Violation]:
    """Everything that is wrong with a request for a key."""
    found = []
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        found.append(Violation("name", f"must have 1 to {MAX_NAME_LENGTH} characters, not {len(name)}"))
    for position, scope in enumerate(scopes):
        if scope not in SCOPES:
            found.append(Violation(f"scopes[{position}]", f"must be one of {', '.join(SCOPES)}, not '{scope}'"))
    if ttl is not None and not MIN_TTL <= ttl <= MAX_TTL:
        found.append(Violation("ttl", f"must be {MIN_TTL.total_seconds():.0f} s to {MAX_TTL.days} days, or absent"))
    return found + (rate_limit.violations() if rate_limit is not None else [])


def violations_of_overlap(overlap: timedelta) -> list[Violation]:
    """What is wrong with how long two keys shall work beside each other."""
    if timedelta(0) <= overlap <= MAX_OVERLAP:
        return []
    return [Violation("overlap", f"must be 0 s to {MAX_OVERLAP.days} days, or absent for 24 hours")]


def violations_of_account(name: str) -> list[Violation]:
    """What is wrong with the name of an account."""
    if not _ACCOUNT_NAME.fullmatch(name):
        allowed = "must have 1 to 63 lower-case letters, digits and hyphens, with a letter or digit first and last"
        return [Violation("name", f"{allowed}, not '{name}'")]
    if name.startswith(_RESERVED_ACCOUNTS):
        return [Violation("name", f"must not begin with '{_RESERVED_ACCOUNTS}', which the platform keeps for itself")]
    return []
