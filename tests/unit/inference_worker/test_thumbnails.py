"""The picture that stands for a video: kept beside it, from among its own frames."""

import io
import itertools

import numpy as np
from PIL import Image

from services.inference_worker.adapters.pillow_pictures import PillowPictures
from services.inference_worker.domain.attempt import Output
from services.inference_worker.usecases.still import Still
from tests.unit.inference_worker.worker_bench import Bench

THUMBNAIL = "renders/r1/1/thumbnail.webp"


class HereAndNow:
    """A lane that does its work at once."""

    is_busy = False

    async def run(self, work):
        return work()

    def close(self):
        """Nothing to close."""


class Named:
    """Pictures that hold the number of their frame."""

    media_type = "image/webp"

    def encode(self, pixels, most_width_px=None):
        return bytes(pixels)


async def picked(num_frames, *cuts):
    """The number of the frame that is picked, when frames come in parts."""
    still = Still(num_frames, pictures=Named(), encoding=HereAndNow())
    frames, edges = np.arange(num_frames, dtype=np.uint8)[:, None], (0, *cuts, num_frames)
    for start, end in itertools.pairwise(edges):
        still.take(frames[start:end])
    return (await still.picture())[0]


async def test_it_is_the_frame_after_the_first_third_however_frames_come():
    assert [await picked(count) for count in (1, 2, 3, 25, 97)] == [0, 0, 1, 8, 32]
    assert [await picked(97, *cuts) for cuts in (range(1, 97), (17, 37), (32,), (33,))] == [32] * 4


async def test_of_no_frames_there_is_no_picture():
    assert await Still(0, pictures=Named(), encoding=HereAndNow()).picture() == b""


def test_it_is_made_smaller_where_it_is_wider_than_it_may_be_and_never_larger():
    encode = PillowPictures().encode
    for (height, width), size in {
        (576, 1024): (480, 270),
        (1280, 64): (64, 1280),
        (480, 480): (480, 480),
    }.items():
        assert Image.open(io.BytesIO(encode(np.zeros((height, width, 3), np.uint8), 480))).size == size


async def test_a_finished_video_has_its_picture_beside_it(bench: Bench):
    *_, last = await bench.render(num_frames=9)
    assert isinstance(last.result, Output)
    picture = Image.open(io.BytesIO(bench.stored(THUMBNAIL)))
    assert (picture.format, picture.size) == ("WEBP", (last.result.width, last.result.height))


async def test_a_video_whose_picture_cannot_be_stored_is_finished_all_the_same(bench: Bench):
    bench.objects.refuse(lambda key: key == THUMBNAIL)
    *_, last = await bench.render()
    assert isinstance(last.result, Output)
    assert THUMBNAIL not in bench.stored_keys()
