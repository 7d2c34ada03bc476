"""Input images: data URIs to pictures of the requested size, through Pillow."""

import warnings

from PIL import Image, ImageOps

from services.chassis.errors import InvalidInput, Violation
from services.chassis.images import ImageRefused, open_image

_NOTABLE_STRETCH = 0.01


def read_image(data_uri: str, *, width: int, height: int) -> tuple[Image.Image, tuple[str, ...]]:
    """The picture in RGB, resized to `width` x `height` pixels, and what the sender should know about that.

    Raises InvalidInput about the field `image` for anything but one whole still picture of a known format whose size is
    within the limits. The size is taken from the header; pixels are read only after that.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow finds odd in a file is nobody's business here
        picture = _decoded(data_uri)
    notes = []
    stretch = (width / height) / (picture.width / picture.height)
    if abs(stretch - 1) > _NOTABLE_STRETCH:
        notes.append(
            f"image: its {picture.width}x{picture.height} pixels were resized to {width}x{height}, which changes its "
            f"aspect ratio from {picture.width / picture.height:.2f} to {width / height:.2f}"
        )
    return picture.resize((width, height), Image.Resampling.LANCZOS), tuple(notes)


def _decoded(data_uri: str) -> Image.Image:
    try:
        picture = open_image(data_uri)
    except ImageRefused as refusal:
        raise _refusal(str(refusal)) from None
    try:
        picture.load()
        return _rgb(ImageOps.exif_transpose(picture))
    except Exception:  # a decoder can fail in any way on bytes that somebody made up
        raise _refusal("is damaged or incomplete") from None


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits of grey, which convert() would clip to white
        picture = picture.convert("I").point(lambda value: value / 256).convert("L")
    return picture.convert("RGB")


def _refusal(description: str) -> InvalidInput:
    return InvalidInput([Violation("image", description)])
