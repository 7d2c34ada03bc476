"""Uploads: images that were sent beforehand, how requests name them, and how long they are kept."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.chassis.errors import ForgeError, Kind

SCHEME = "forge-upload://"
DEFAULT_TTL = timedelta(days=1)


@dataclass(frozen=True)
class Upload:
    """An image of an account. Sizes in pixels and bytes."""

    id: str
    account: str
    media_type: str
    width: int
    height: int
    size_bytes: int
    sha256: str
    created_at: datetime
    expires_at: datetime

    @property
    def uri(self) -> str:
        """What an input takes in place of the image."""
        return f"{SCHEME}{self.id}"


@dataclass(frozen=True)
class UploadLimits:
    """How much an account may keep, and for how long."""

    ttl: timedelta = DEFAULT_TTL
    max_count: int = 200
    max_bytes: int = 2**30


class UploadNotFound(ForgeError):
    """No such upload in the caller's account, now or any more."""

    kind = Kind.NOT_FOUND
    reason = "UPLOAD_NOT_FOUND"

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"there is no upload '{upload_id[:100]}'", resource=("upload", upload_id[:100]))


class UploadsFull(ForgeError):
    """The account keeps as much as it may."""

    kind = Kind.EXHAUSTED
    reason = "QUOTA_EXCEEDED"

    def __init__(self, quota: str, most: str, retry_after_seconds: float) -> None:
        super().__init__(
            f"the account keeps uploads of {most} at most: delete one, or wait until one expires",
            metadata={"quota": quota},
            retry_after_seconds=retry_after_seconds,
        )


def id_in(uri: str) -> str:
    """The identifier that a URI of an upload names."""
    return uri.removeprefix(SCHEME)
