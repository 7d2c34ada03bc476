"""Previews: small files that any browser shows."""

import io

import numpy as np
from PIL import Image

from services.inference_worker.adapters.pillow_pictures import PillowPictures


def a_picture(*, noise: float) -> np.ndarray:
    """256x144 pixels: a soft gradient in three colours, with so much of it noise."""
    rows, columns = np.mgrid[:144, :256]
    clear = np.stack([columns, 255 - columns, rows * 255 / 143], axis=-1)
    noisy = np.random.default_rng(1).normal(128, 45, clear.shape)
    return (clear * (1 - noise) + noisy * noise).clip(0, 255).astype(np.uint8)


def decoded(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file), formats=["WEBP"])


def test_a_preview_is_a_webp_file_of_the_same_size_and_colours():
    pixels = a_picture(noise=0)
    picture = decoded(PillowPictures().encode(pixels))
    assert (picture.size, picture.mode) == ((256, 144), "RGB")
    assert np.abs(np.asarray(picture, dtype=int) - pixels).mean() < 4
    assert PillowPictures.media_type == Image.MIME["WEBP"]


def test_a_preview_is_a_few_kilobytes_even_of_a_noisy_picture():
    assert len(PillowPictures().encode(a_picture(noise=0.3))) < 10_000


def test_a_part_of_a_larger_array_is_encoded_like_a_copy_of_it():
    part = a_picture(noise=0)[::2, ::2]
    assert PillowPictures().encode(part) == PillowPictures().encode(part.copy())
