"""Images as they come in: what can be told, and refused, without a decoder."""

import base64
import binascii
import re
from dataclasses import dataclass, field

MAX_FILE_BYTES = 16 * 1024 * 1024
"""The largest file. As a data URI it has to fit into a body of this size, which leaves 12 MiB."""
MAX_SIDE_PX = 8192
MAX_PIXELS = 16_800_000

# A file is read as what it says it is, by the one decoder of that, or not at all.
MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp", "image/x-portable-pixmap")
_DATA_URI = re.compile(r"data:(?P<media>[a-z]+/[a-z0-9.+-]+);base64,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)


class ImageRefused(ValueError):
    """The image cannot be used; the message goes on after the name of its field."""


@dataclass(frozen=True)
class ImageFile:
    """The bytes of an image, none of them looked at beyond the first few, and what they are said to be."""

    media_type: str
    data: bytes = field(repr=False)

    def as_data_uri(self) -> str:
        """The file as a text."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"


def file_of(uri: str) -> ImageFile:
    """The file in a data URI. Raises ImageRefused; what is too large is not taken out of its base64."""
    head = _DATA_URI.match(uri[:100])
    if head is None:
        raise ImageRefused("must be a data URI: data:image/png;base64,…")
    media_type = known_media_type(head["media"], "must be a data URI of one of")
    if (len(uri) - head.end()) * 3 // 4 > MAX_FILE_BYTES:
        raise ImageRefused(f"must have at most {MAX_FILE_BYTES // 2**20} MiB")
    try:
        if not _BASE64.fullmatch(uri, head.end()):
            raise binascii.Error  # the library takes any amount of padding
        return ImageFile(media_type, base64.b64decode(uri[head.end() :], validate=True))
    except binascii.Error:
        raise ImageRefused("must be valid base64 without line breaks") from None


def known_media_type(media_type: str, otherwise: str = "must be one of") -> str:
    """A media type without its parameters, as MEDIA_TYPES has it. Raises ImageRefused."""
    found = media_type.partition(";")[0].strip().lower()
    if found not in MEDIA_TYPES:
        raise ImageRefused(f"{otherwise}: {', '.join(MEDIA_TYPES)}")
    return found


def sniffed(data: bytes) -> str | None:
    """The media type that a file begins like; None for any other file."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[:2] in (b"P3", b"P6") and data[2:3].isspace():
        return "image/x-portable-pixmap"
    return None
