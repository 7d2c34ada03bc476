"""Images in data URIs: everything that can be told, and refused, without reading their pixels."""

import base64
import binascii
import io
import re
import warnings

from PIL import Image

MAX_DECODED_BYTES = 12 * 1024 * 1024
MAX_SIDE_PX = 8192
MAX_PIXELS = 16_800_000

# Media types and the decoder each may use: a file is read as what it says it is, or not at all.
_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/x-portable-pixmap": "PPM"}
_DATA_URI = re.compile(r"data:(?P<media>[a-z]+/[a-z0-9.+-]+);base64,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)


class ImageRefused(ValueError):
    """The image cannot be used; the message says what it must be."""


def open_image(uri: str) -> Image.Image:
    """The image of a data URI, its pixels not read yet. Raises ImageRefused for anything beyond the limits."""
    head = _DATA_URI.match(uri[:100])
    if head is None:
        raise ImageRefused("must be a data URI: data:image/png;base64,…")
    media_type = head["media"].lower()
    if media_type not in _FORMATS:
        raise ImageRefused(f"must be a data URI of one of: {', '.join(_FORMATS)}")
    if (len(uri) - head.end()) * 3 // 4 > MAX_DECODED_BYTES:
        raise ImageRefused(f"must have at most {MAX_DECODED_BYTES // 2**20} MiB")
    try:
        if not _BASE64.fullmatch(uri, head.end()):
            raise binascii.Error  # the library takes any amount of padding
        data = base64.b64decode(uri[head.end() :], validate=True)
    except binascii.Error:
        raise ImageRefused("must be valid base64 without line breaks") from None
    too_large = f"must have at most {MAX_SIDE_PX} px a side and {MAX_PIXELS / 1e6} megapixels"
    try:
        with warnings.catch_warnings(action="error"):
            image = Image.open(io.BytesIO(data), formats=[_FORMATS[media_type]])
            frames = getattr(image, "n_frames", 1)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageRefused(too_large) from None
    except Exception:  # a decoder can fail in any way on bytes that somebody made up
        raise ImageRefused(f"is not a readable {media_type}") from None
    if max(image.size) > MAX_SIDE_PX or image.width * image.height > MAX_PIXELS:
        raise ImageRefused(f"{too_large}; it has {image.width}x{image.height}")
    if frames > 1:
        raise ImageRefused("must be a still picture, not an animation")
    return image
