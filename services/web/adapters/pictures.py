"""Pictures that browsers do not show, as ones that they do."""

import base64
import io

from services.chassis.images import ImageRefused, open_image

_SHOWN_BY_BROWSERS = ("data:image/png;", "data:image/jpeg;", "data:image/webp;")


def shown_as_png(uri: str) -> str:
    """A data URI of a picture as one that every browser shows; empty for what is no picture within the limits."""
    if uri.startswith(_SHOWN_BY_BROWSERS):
        return uri
    try:
        image = open_image(uri)
        written = io.BytesIO()
        image.convert("RGB").save(written, "PNG")
    except (ImageRefused, OSError):
        return ""
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode('ascii')}"
