"""Images are decoded where they can do no harm: whatever a file does to its decoder, the service goes on."""

import base64
import io
import os
import random
import signal
import struct
import threading
import time
import zlib
from collections.abc import Iterator

import psutil
import pytest
from PIL import Image

from services.chassis.darkroom import Darkroom, Size
from services.chassis.image_decoder import MEMORY_BYTES
from services.chassis.images import ImageFile, ImageRefused

FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "PPM": "image/x-portable-pixmap"}


HUGE = zlib.compress(bytes(50 * 2**20), 9)


@pytest.fixture(scope="module")
def darkroom() -> Iterator[Darkroom]:
    subject = Darkroom()
    yield subject
    subject.close()


def saved(image: Image.Image, image_format: str = "PNG", **more) -> ImageFile:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **more)
    return ImageFile(FORMATS[image_format], buffer.getvalue())


def noise(size: int = 256) -> Image.Image:
    return Image.merge("RGB", [Image.effect_noise((size, size), 90)] * 3)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes, width: int = 8, height: int = 8) -> ImageFile:
    """All black, with one bit a pixel; Pillow takes a byte for each."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes((width // 8 + 1) * height), 9))
    return ImageFile("image/png", b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b""))


def refusal(darkroom: Darkroom, file: ImageFile) -> str:
    with pytest.raises(ImageRefused) as caught:
        darkroom.size(file)
    return str(caught.value)


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_picture_comes_out_at_the_size_that_was_asked_for(darkroom, image_format):
    red = saved(Image.new("RGB", (40, 20), (250, 10, 10)), image_format)
    assert darkroom.size(red) == Size(40, 20)
    made = darkroom.picture(red, width=16, height=8)
    assert made.original == Size(40, 20)
    assert len(made.pixels) == 16 * 8 * 3
    r, g, b = made.pixels[:3]
    assert r > 200 > 60 > max(g, b)


def test_a_picture_that_lies_on_its_side_is_measured_the_right_way_up(darkroom):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert darkroom.size(saved(Image.new("RGB", (40, 20)), "JPEG", exif=exif)) == Size(20, 40)


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_file_cut_short_or_scrambled_anywhere_is_refused_or_read_and_never_ends_the_service(darkroom, image_format):
    whole, luck = saved(noise(), image_format), random.Random(7)
    for place in (40, len(whole.data) - 2):
        darkroom_says(darkroom, ImageFile(whole.media_type, whole.data[:place]))
    for _ in range(3):
        damaged = bytearray(whole.data)
        for _ in range(20):
            damaged[luck.randrange(len(damaged))] = luck.randrange(256)
        darkroom_says(darkroom, ImageFile(whole.media_type, bytes(damaged)))
    assert refusal(darkroom, ImageFile(whole.media_type, whole.data[: len(whole.data) // 2]))


def darkroom_says(darkroom: Darkroom, file: ImageFile) -> str:
    try:
        return str(darkroom.size(file))
    except ImageRefused as refused:
        return str(refused)


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(lambda: png(width=16384, height=16384), id="268 megapixels in 33 kB"),
        pytest.param(lambda: png(width=8192, height=4096), id="34 megapixels in 5 kB"),
        pytest.param(lambda: png(chunk(b"iCCP", b"x\0\0" + HUGE)), id="a huge profile"),
        pytest.param(lambda: png(chunk(b"zTXt", b"x\0\0" + HUGE)), id="a huge text"),
        pytest.param(lambda: ImageFile("image/webp", webp_that_says(16384, 16384)), id="a webp of 268 megapixels"),
        pytest.param(lambda: ImageFile("image/x-portable-pixmap", b"P6 9999999 9999999 255\n"), id="a ppm without end"),
    ],
)
def test_a_small_file_that_unpacks_to_a_huge_one_costs_next_to_nothing(darkroom, bomb):
    file = bomb()
    began = time.monotonic()
    refusal(darkroom, file)
    assert time.monotonic() - began < 5
    assert psutil.Process().memory_info().rss < 2**30


def webp_that_says(width: int, height: int) -> bytes:
    still = saved(Image.new("RGB", (16, 16)), "WEBP", lossless=True).data[12:]
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas + still
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (lambda: saved(noise(8), "WEBP", save_all=True, append_images=[noise(8)]), "animation"),
        (lambda: saved(noise(8), "PNG", save_all=True, append_images=[noise(8)]), "animation"),
        (lambda: ImageFile("image/png", saved(noise(8), "JPEG").data), "is not a readable image/png"),
        (lambda: ImageFile("image/jpeg", b"\xff\xd8\xff" + bytes(100)), "is not a readable image/jpeg"),
        (lambda: ImageFile("image/png", b""), "is not a readable image/png"),
    ],
)
def test_what_is_no_still_picture_of_its_kind_is_said_to_be_none(darkroom, file, says):
    assert says in refusal(darkroom, file())


def jpeg_with(segment: bytes, marker: int) -> ImageFile:
    whole = saved(noise(64), "JPEG").data
    return ImageFile(
        "image/jpeg", whole[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(segment) + 2) + segment + whole[2:]
    )


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(lambda: saved(noise(), "JPEG", progressive=True, quality=100, subsampling=0), id="progressive"),
        pytest.param(lambda: saved(noise().convert("CMYK"), "JPEG"), id="cmyk"),
        pytest.param(lambda: saved(noise().convert("L"), "JPEG"), id="grey"),
        pytest.param(
            lambda: saved(noise(), "JPEG", icc_profile=random.Random(1).randbytes(2**20)), id="a profile of noise"
        ),
        pytest.param(lambda: jpeg_with(b"Exif\0\0" + bytes(range(200)) * 300, 0xE1), id="exif that is none"),
        pytest.param(
            lambda: jpeg_with(b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff" * 99, 0xE1),
            id="exif that lies",
        ),
        pytest.param(lambda: jpeg_with(bytes(60000), 0xFE), id="a long comment"),
        pytest.param(lambda: ImageFile("image/jpeg", saved(noise(), "JPEG").data + bytes(10**6)), id="a long tail"),
        pytest.param(lambda: saved(noise(), "JPEG", restart_marker_rows=1), id="restarts"),
    ],
)
def test_odd_jpegs_are_pictures_all_the_same(darkroom, odd):
    size = darkroom.size(odd())
    assert size.width == size.height >= 64


def test_of_a_photo_with_a_second_picture_in_it_the_first_one_is_taken(darkroom):
    buffer = io.BytesIO()
    noise(64).save(buffer, "MPO", save_all=True, append_images=[noise(32)])
    assert darkroom.size(ImageFile("image/jpeg", buffer.getvalue())) == Size(64, 64)


@pytest.mark.parametrize(
    ("image_format", "mode", "more"),
    [
        ("PNG", "I;16", {"compress_level": 1}),
        ("JPEG", "CMYK", {"progressive": True}),
        ("WEBP", "RGBA", {"quality": 1, "method": 0}),
    ],
)
def test_the_largest_pictures_of_every_kind_fit_into_a_decoder(darkroom, image_format, mode, more):
    side = 4096
    made = darkroom.picture(saved(Image.new(mode, (side, side)), image_format, **more), width=64, height=64)
    assert made.original == Size(side, side)


def test_memory_stays_where_it_was(darkroom):
    large, process = saved(Image.new("RGB", (2048, 2048)), "JPEG"), psutil.Process()
    darkroom.size(large)
    before = process.memory_info().rss
    for _ in range(12):
        darkroom.size(large)
    assert process.memory_info().rss - before < 20 * 2**20
    assert all(child.memory_info().rss < 64 * 2**20 for child in process.children())


def test_a_decoder_that_takes_more_memory_than_it_may_ends_alone():
    with_little = saved(Image.new("RGB", (4096, 2048)), "JPEG")
    subject = Darkroom()
    try:
        subject.start()
        (pid,) = subject.waiting_pids
        eventually(lambda: psutil.Process(pid).rlimit(psutil.RLIMIT_AS)[0] == MEMORY_BYTES)
        psutil.Process(pid).rlimit(psutil.RLIMIT_AS, (60 * 2**20, 60 * 2**20))
        assert "memory" in refusal(subject, with_little)
        assert subject.size(saved(noise())) == Size(256, 256)
    finally:
        subject.close()


def eventually(holds, seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def signalled(number: int):
    """A darkroom whose every decoder gets a signal before it can answer."""

    class Fated(Darkroom):
        def _take(self):
            process = super()._take()
            os.kill(process.pid, number)
            return process

    return Fated


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGKILL, signal.SIGXCPU])
def test_a_decoder_that_crashes_is_a_refusal(number):
    subject = signalled(number)()
    try:
        assert refusal(subject, saved(noise())) == "cannot be decoded: save it anew as a plain PNG or JPEG"
    finally:
        subject.close()


def test_a_decoder_that_hangs_is_killed_and_a_refusal():
    subject = signalled(signal.SIGSTOP)(seconds=0.3)
    try:
        began = time.monotonic()
        assert "takes too long" in refusal(subject, saved(Image.effect_noise((2048, 2048), 99)))
        assert time.monotonic() - began < 5
    finally:
        subject.close()
    assert not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_STOPPED]


def test_an_image_is_not_blamed_for_a_decoder_that_somebody_killed_while_it_waited():
    subject = Darkroom()
    try:
        subject.start()
        (pid,) = subject.waiting_pids
        os.kill(pid, signal.SIGKILL)
        assert subject.size(saved(noise())) == Size(256, 256)
    finally:
        subject.close()


def test_no_image_meets_a_decoder_that_another_one_had(darkroom):
    darkroom.size(saved(noise()))
    first = darkroom.waiting_pids
    darkroom.size(saved(noise()))
    assert first
    assert darkroom.waiting_pids
    assert not set(first) & set(darkroom.waiting_pids)


def test_a_decoder_can_open_nothing_and_knows_no_secrets(darkroom, monkeypatch):
    monkeypatch.setenv("FORGE_SECRET", "s3cret")
    subject = Darkroom()
    try:
        subject.start()
        (pid,) = subject.waiting_pids
        decoder = psutil.Process(pid)
        eventually(lambda: decoder.rlimit(psutil.RLIMIT_NOFILE) == (3, 3))
        assert decoder.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert decoder.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert decoder.rlimit(psutil.RLIMIT_CPU)[1] < 60
        assert "FORGE_SECRET" not in decoder.environ()
        assert decoder.num_fds() == 3
        assert decoder.cwd() == "/"
    finally:
        subject.close()


def test_decoders_end_with_whoever_needed_them():
    subject = Darkroom(spares=2)
    subject.start()
    pids = subject.waiting_pids
    assert len(pids) == 2
    subject.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_many_threads_decode_at_once(darkroom):
    file, sizes = saved(noise()), []
    threads = [threading.Thread(target=lambda: sizes.append(darkroom.size(file))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sizes == [Size(256, 256)] * 6


def test_what_a_decoder_says_is_not_believed_beyond_what_was_asked():
    class Lying(Darkroom):
        answers = b""

        def _take(self):
            process = super()._take()
            reader, writer = os.pipe()
            os.write(writer, self.answers)
            os.close(writer)
            assert process.stdout is not None
            process.stdout.close()
            process.stdout = os.fdopen(reader, "rb")
            return process

    for answers in (
        b"",
        b"{",
        b"[]\n",
        b"null\n",
        b'{"width": "1", "height": 1, "size_bytes": 0}\n',
        b'{"width": true, "height": 1, "size_bytes": 0}\n',
        b'{"width": 99999, "height": 99999, "size_bytes": 0}\n',
        b'{"width": 8, "height": 8, "size_bytes": 5}\nabcde',
        b"9" * 9999,
    ):
        subject = Lying()
        subject.answers = answers
        try:
            assert "cannot be decoded" in refusal(subject, saved(noise(8)))
        finally:
            subject.close()


def test_a_data_uri_and_a_file_are_the_same(darkroom):
    file = saved(noise(8))
    assert base64.b64decode(file.as_data_uri().partition(",")[2]) == file.data
