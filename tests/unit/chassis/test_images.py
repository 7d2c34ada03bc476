"""Which images are taken: what their form tells, and what a decoder does."""

import base64
import io
import re

import pytest
from PIL import Image

from services.chassis.image_decoder import opened
from services.chassis.images import MAX_FILE_BYTES, ImageRefused, file_of, known_media_type, sniffed


def uri(data: bytes, media: str = "image/png") -> str:
    return f"data:{media};base64,{base64.b64encode(data).decode()}"


def picture(image_format: str, size=(16, 16), mode="RGB", **more) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, image_format, **more)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("image_format", "media"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("WEBP", "image/webp"),
        ("PPM", "image/x-portable-pixmap"),
    ],
)
def test_the_four_kinds_of_images_are_taken(image_format, media):
    assert opened(file_of(uri(picture(image_format), media))).size == (16, 16)


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ("https://example.org/cat.png", "must be a data URI"),
        ("data:image/png,abc", "must be a data URI"),
        (uri(b"GIF89a", "image/gif"), "must be a data URI of one of: image/png"),
        ("data:image/png;base64,@@@@", "must be valid base64"),
        ("data:image/png;base64,AAAA\nAAAA", "must be valid base64"),
        ("data:image/png;base64,AAAA====", "must be valid base64"),
        (uri(b"not a picture"), "is not a readable image/png"),
        (uri(picture("JPEG"), "image/png"), "is not a readable image/png"),
        (uri(picture("PNG", (9000, 8))), "must have at most 8192 px a side"),
        (uri(picture("PNG", (8000, 8000), "1")), "16.8 megapixels; it has 8000x8000"),
        (uri(b"P6 100000 100000 255\n", "image/x-portable-pixmap"), "at most"),
        ("data:image/png;base64," + "A" * (MAX_FILE_BYTES * 2), "must have at most 16 MiB"),
        (
            uri(
                picture("PNG", save_all=True, append_images=[Image.new("RGB", (16, 16), "red")]),
            ),
            "must be a still picture",
        ),
    ],
)
def test_an_image_that_cannot_be_used_is_refused_in_words(image, problem):
    with pytest.raises(ImageRefused, match=re.escape(problem)):
        opened(file_of(image))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "PPM"])
def test_a_file_is_told_by_how_it_begins(image_format):
    media_type = sniffed(picture(image_format))
    assert media_type == known_media_type(media_type or "")
    assert opened(file_of(uri(picture(image_format), media_type or ""))).size == (16, 16)
    assert sniffed(b"GIF89a") is None


def test_a_media_type_counts_without_its_parameters_and_its_case():
    assert known_media_type("Image/PNG; charset=x") == "image/png"
    with pytest.raises(ImageRefused, match="must be one of: image/png"):
        known_media_type("text/html")
