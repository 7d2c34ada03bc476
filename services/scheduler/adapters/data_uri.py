"""Images in data URIs: everything that can be told without reading their pixels."""

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


def image_problem(uri: str) -> str | None:
    """What is wrong with an image in a data URI; None when nothing is. Only its header is decoded."""
    head = _DATA_URI.match(uri[:100])
    if head is None:
        return "must be a data URI: data:image/png;base64,…"
    image_format = _FORMATS.get(head["media"].lower())
    if image_format is None:
        return f"must be one of: {', '.join(_FORMATS)}"
    if (len(uri) - head.end()) * 3 // 4 > MAX_DECODED_BYTES:
        return f"must have at most {MAX_DECODED_BYTES // 2**20} MiB"
    try:
        data = base64.b64decode(uri[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        return "must be valid base64 without line breaks"
    too_large = f"must have at most {MAX_SIDE_PX} px a side and {MAX_PIXELS / 1e6} megapixels"
    try:
        with warnings.catch_warnings(action="error"), Image.open(io.BytesIO(data), formats=[image_format]) as image:
            width, height = image.size
            frames = getattr(image, "n_frames", 1)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return too_large
    except (OSError, ValueError, SyntaxError):
        return f"is not a readable {head['media'].lower()}"
    if max(width, height) > MAX_SIDE_PX or width * height > MAX_PIXELS:
        return f"{too_large}; it has {width}x{height}"
    if frames > 1:
        return "must have one frame"
    return None
