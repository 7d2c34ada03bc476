"""Input images: what is taken, what is refused, and what the sender is told."""

import base64
import io
import struct
import zlib

import pytest
from PIL import Image

from services.chassis.errors import InvalidInput
from services.inference_worker.adapters.pillow_images import read_image


def refusal(data_uri: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_image(data_uri, width=64, height=64)
    assert [violation.field for violation in caught.value.violations] == ["image"]
    return caught.value.violations[0].description


MODES = {
    "PNG": ["RGB", "RGBA", "L", "LA", "P", "1"],
    "JPEG": ["RGB", "L", "CMYK"],
    "WEBP": ["RGB", "RGBA"],
    "PPM": ["RGB", "L"],
}


@pytest.mark.parametrize(("file_format", "mode"), [(name, mode) for name, modes in MODES.items() for mode in modes])
def test_every_kind_of_picture_becomes_rgb_of_the_requested_size(data_uri, mode, file_format):
    picture, _ = read_image(data_uri(Image.new(mode, (20, 20)), file_format), width=128, height=64)
    assert (picture.mode, picture.size) == ("RGB", (128, 64))


def test_sixteen_bits_of_grey_keep_their_brightness(data_uri):
    picture, _ = read_image(data_uri(Image.new("I;16", (8, 8), 32768)), width=8, height=8)
    assert picture.getpixel((4, 4)) == (128, 128, 128)


def test_a_photo_taken_sideways_is_turned(data_uri):
    photo, file = Image.new("RGB", (40, 20)), io.BytesIO()
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(file, "JPEG", exif=exif)
    uri = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    _, notes = read_image(uri, width=64, height=128)
    assert notes == ()


def test_a_changed_aspect_ratio_is_told(data_uri):
    _, notes = read_image(data_uri(Image.new("RGB", (16, 16)), "PPM"), width=1024, height=576)
    assert len(notes) == 1
    assert "16x16" in notes[0]
    assert "1024x576" in notes[0]
    assert "from 1.00 to 1.78" in notes[0]


def test_a_kept_aspect_ratio_is_not_worth_a_word(data_uri):
    assert read_image(data_uri(Image.new("RGB", (16, 9))), width=1024, height=576)[1] == ()


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://example.org/cat.png",
        "data:text/html;base64,AAAA",
        "data:image/gif;base64,AAAA",
        "data:image/png,abc",
    ],
)
def test_only_data_uris_of_known_types_are_read(uri):
    assert "data URI" in refusal(uri)


@pytest.mark.parametrize("tail", ["AAA", "AA\nAA", "AA AA", "*", "AAAA===="])
def test_base64_is_strict(tail):
    assert "base64" in refusal("data:image/png;base64," + tail)


def test_bytes_of_another_kind_than_pictures_are_refused():
    assert refusal("data:image/png;base64," + base64.b64encode(b"GIF89a" + bytes(50)).decode())


def test_a_picture_cut_short_is_refused(data_uri):
    whole = base64.b64decode(data_uri(Image.effect_noise((64, 64), 50)).partition(",")[2])
    assert "damaged" in refusal("data:image/png;base64," + base64.b64encode(whole[: len(whole) // 2]).decode())


def test_an_animation_is_refused():
    file = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    assert "animation" in refusal("data:image/webp;base64," + base64.b64encode(file.getvalue()).decode())


def png_that_says(width: int, height: int) -> str:
    """A PNG of a few bytes whose header promises any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.mark.parametrize("size", [(8193, 1), (1, 8193), (4100, 4100), (60000, 60000), (2**31 - 1, 2**31 - 1)])
def test_a_picture_that_is_too_large_is_refused_before_its_pixels_are_read(size):
    assert refusal(png_that_says(*size)) != "is damaged or incomplete"
