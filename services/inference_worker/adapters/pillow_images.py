"""Input images: data URIs to pictures of the requested size, decoded in processes of their own."""

import atexit
from functools import lru_cache

from PIL import Image

from services.chassis.darkroom import Darkroom
from services.chassis.errors import InvalidInput, Violation
from services.chassis.images import ImageRefused, file_of

_NOTABLE_STRETCH = 0.01

_darkroom = Darkroom()  # starts nothing before the first image
atexit.register(_darkroom.close)


@lru_cache(maxsize=1)  # a render is planned first and then made, both from the same image
def read_image(data_uri: str, *, width: int, height: int) -> tuple[Image.Image, tuple[str, ...]]:
    """The picture in RGB, resized to `width` x `height` pixels, and what the sender should know about that.

    Raises InvalidInput about the field `image` for anything but one whole still picture of a known format whose size is
    within the limits. No decoder runs in this process.
    """
    try:
        picture = _darkroom.picture(file_of(data_uri), width=width, height=height)
    except ImageRefused as refusal:
        raise InvalidInput([Violation("image", str(refusal))]) from None
    notes = []
    original = picture.original
    stretch = (width / height) / (original.width / original.height)
    if abs(stretch - 1) > _NOTABLE_STRETCH:
        notes.append(
            f"image: its {original.width}x{original.height} pixels were resized to {width}x{height}, which changes its "
            f"aspect ratio from {original.width / original.height:.2f} to {width / height:.2f}"
        )
    return Image.frombytes("RGB", (width, height), picture.pixels), tuple(notes)
