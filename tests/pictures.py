"""Pictures to send."""

import io

from PIL import Image


def a_png(size: tuple[int, int] = (64, 64), mode: str = "RGB", colour: str | int = 0) -> bytes:
    """A PNG of one colour; black unless another is named."""
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()
