"""Input images: data URIs to pictures of the requested size, through Pillow, trusting nothing."""

import base64
import binascii
import io
import re
import warnings

from PIL import Image, ImageOps

from services.chassis.errors import InvalidInput, Violation

MAX_PIXELS = 16_800_000
MAX_SIDE = 8192

_DATA_URI = re.compile(r"data:image/(png|jpeg|webp|x-portable-pixmap);base64,", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)
_FORMATS = ("PNG", "JPEG", "WEBP", "PPM")
_NOTABLE_STRETCH = 0.01


def read_image(data_uri: str, *, width: int, height: int) -> tuple[Image.Image, tuple[str, ...]]:
    """The picture in RGB, resized to `width` x `height` pixels, and what the sender should know about that.

    Raises InvalidInput about the field `image` for anything but one whole still picture of a known format whose size is
    within the limits. The size is taken from the header; pixels are read only after that.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's limits are above ours
        picture = _decoded(_bytes_of(data_uri))
    notes = []
    stretch = (width / height) / (picture.width / picture.height)
    if abs(stretch - 1) > _NOTABLE_STRETCH:
        notes.append(
            f"image: its {picture.width}x{picture.height} pixels were resized to {width}x{height}, which changes its "
            f"aspect ratio from {picture.width / picture.height:.2f} to {width / height:.2f}"
        )
    return picture.resize((width, height), Image.Resampling.LANCZOS), tuple(notes)


def _bytes_of(data_uri: str) -> bytes:
    start = _DATA_URI.match(data_uri)
    if not start:
        raise _refusal("must be a data URI in base64 of a PNG, JPEG, WebP or PPM picture")
    if not _BASE64.fullmatch(data_uri, start.end()):
        raise _refusal("is not valid base64")
    try:
        return base64.b64decode(data_uri[start.end() :], validate=True)
    except binascii.Error:
        raise _refusal("is not valid base64") from None


def _decoded(data: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Exception:  # a decoder can fail in any way on bytes that somebody made up
        raise _refusal("is no PNG, JPEG, WebP or PPM picture") from None
    if picture.width > MAX_SIDE or picture.height > MAX_SIDE or picture.width * picture.height > MAX_PIXELS:
        raise _refusal(f"must have at most {MAX_SIDE} pixels a side and {MAX_PIXELS / 1e6:.1f} million in all")
    if getattr(picture, "n_frames", 1) != 1:
        raise _refusal("must be a still picture, not an animation")
    try:
        picture.load()
        return _rgb(ImageOps.exif_transpose(picture))
    except Exception:  # as above
        raise _refusal("is damaged or incomplete") from None


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits of grey, which convert() would clip to white
        picture = picture.convert("I").point(lambda value: value / 256).convert("L")
    return picture.convert("RGB")


def _refusal(description: str) -> InvalidInput:
    return InvalidInput([Violation("image", description)])
