"""Pages of lists: how long they are, and the opaque marks of where the next one begins."""

import base64
import binascii

from services.chassis.errors import Violation

DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 100

_PREFIX = "after:"


def size_violations(page_size: int) -> list[Violation]:
    """What is wrong with a page size; 0 is the default."""
    if 0 <= page_size <= LARGEST_PAGE_SIZE:
        return []
    return [Violation("page_size", f"must be 1 to {LARGEST_PAGE_SIZE}, or 0 for {DEFAULT_PAGE_SIZE}")]


def token_violation() -> Violation:
    """That a token was not made for the list."""
    return Violation("page_token", "is no next_page_token of this list; leave it out to start over")


def token(place: str) -> str:
    """An opaque mark of a place."""
    return base64.urlsafe_b64encode(f"{_PREFIX}{place}".encode()).decode()


def place(token: str) -> str | None:
    """The place that a token marks, "" for no token, None for a token that was not made here."""
    if not token:
        return ""
    try:
        text = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        return None
    return text.removeprefix(_PREFIX) if text.startswith(_PREFIX) else None
