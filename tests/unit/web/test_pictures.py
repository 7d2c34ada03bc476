"""Pictures that browsers do not show."""

import base64
import io

import pytest
from PIL import Image

from services.web.adapters.pictures import shown_as_png

PIXELS = b"P6 2 1 255 " + bytes([255, 0, 0, 0, 0, 255])


def test_a_pixmap_is_shown_with_the_same_pixels():
    uri = shown_as_png(f"data:image/x-portable-pixmap;base64,{base64.b64encode(PIXELS).decode()}")
    image = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
    assert [image.getpixel((x, 0)) for x in range(2)] == [(255, 0, 0), (0, 0, 255)]


def test_what_browsers_show_stays_as_it_is():
    assert shown_as_png("data:image/png;base64,AAAA") == "data:image/png;base64,AAAA"


@pytest.mark.parametrize("uri", ["", "x", "data:image/x-portable-pixmap;base64,AAAA", "data:text/html;base64,AAAA"])
def test_what_is_no_picture_is_shown_as_none(uri):
    assert shown_as_png(uri) == ""
