"""Pictures of the catalogue's examples that browsers do not show, as ones that they do."""

import base64
import io

from services.chassis.image_decoder import decoded, opened
from services.chassis.images import ImageRefused, file_of

_SHOWN_BY_BROWSERS = ("data:image/png;", "data:image/jpeg;", "data:image/webp;")


def shown_as_png(uri: str) -> str:
    """A data URI of a picture as one that every browser shows; empty for what is no picture within the limits.

    For the installation's own files only: it is decoded here.
    """
    if uri.startswith(_SHOWN_BY_BROWSERS):
        return uri
    try:
        image = decoded(opened(file_of(uri)))
    except ImageRefused:
        return ""
    written = io.BytesIO()
    image.save(written, "PNG")
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode('ascii')}"
