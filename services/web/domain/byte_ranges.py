"""Which part of a file a request asks for, and whether it needs the file at all. The rules are RFC 9110's."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

# No file is as long as a hundred digits say: what has more of them is no range.
_RANGE = re.compile(r"(?P<first>\d{0,100})-(?P<last>\d{0,100})", re.ASCII)
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


class NotSatisfiable(Exception):
    """The file has nothing of the part that is asked for."""


@dataclass(frozen=True)
class File:
    """What is to be known of a file that will never change."""

    size: int
    etag: str
    """Strong, with its quotes."""
    modified_at: datetime

    @property
    def last_modified(self) -> str:
        """When it came to be, as HTTP writes it."""
        return format_datetime(self.modified_at.astimezone(UTC).replace(microsecond=0), usegmt=True)


def is_known(file: File, *, if_none_match: str | None, if_modified_since: str | None) -> bool:
    """Whether whoever asks has the file already."""
    if if_none_match is not None:
        return if_none_match.strip() == "*" or file.etag in (
            tag.removeprefix("W/") for tag in _TAG.findall(if_none_match)
        )
    since = _moment(if_modified_since)
    return since is not None and file.modified_at.replace(microsecond=0) <= since


def part_of(file: File, *, wanted: str | None, if_range: str | None) -> range | None:
    """The bytes that a `Range` asks for; None for the whole file. Raises NotSatisfiable.

    Several parts at once, other units, and what is no range at all are answered with the whole, as are parts of
    a file that has become another.
    """
    unit, _, listed = (wanted or "").partition("=")
    found = _RANGE.fullmatch(listed.strip(" \t"))
    if unit.strip().lower() != "bytes" or found is None or not _is_same(file, if_range):
        return None
    first, last = found["first"], found["last"]
    if not first and not last:
        return None
    if not first:
        start, end = max(0, file.size - int(last)), file.size
    else:
        start, end = int(first), min(int(last) + 1, file.size) if last else file.size
        if last and int(last) < start:
            return None
    if start >= file.size:
        raise NotSatisfiable
    return range(start, end)


def _is_same(file: File, if_range: str | None) -> bool:
    """Whether the file is the one of which somebody has a part: a tag must be strong, a date exact."""
    return if_range is None or if_range.strip() in (file.etag, file.last_modified)


def _moment(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found and found.tzinfo is None else found
