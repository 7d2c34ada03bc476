"""Encoding and storing: exact frame rates, true colours, whole files."""

import io
from fractions import Fraction

import av
import numpy as np
import obstore
import pytest
from obstore.store import LocalStore, MemoryStore

from services.inference_worker.adapters.obstore_video_store import ObstoreVideoStore
from services.inference_worker.adapters.pyav_video_encoder import PyAvVideoEncoder
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.errors import RenderStopped, StorageFailed
from services.inference_worker.ports import Clip


def clip_of(frames: int, fps: int, colour=(200, 60, 30)) -> Clip:
    pixels = np.empty((frames, 48, 64, 3), dtype=np.uint8)
    pixels[:] = colour
    return Clip(pixels, fps)


@pytest.mark.parametrize("fps", [1, 7, 16, 24, 60])
def test_the_file_plays_at_exactly_the_requested_rate(fps, listener):
    ear = listener()
    video = PyAvVideoEncoder().encode(clip_of(25, fps), ear.report, ear)
    with av.open(io.BytesIO(video), "r", format="mp4") as container:
        stream = container.streams.video[0]
        times = [frame.time for frame in container.decode(stream)]
        assert stream.average_rate == Fraction(fps)
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.duration is not None
        assert stream.time_base is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(25 / fps)
    assert times == pytest.approx([number / fps for number in range(25)])


def test_the_index_comes_before_the_pictures(listener):
    ear = listener()
    video = PyAvVideoEncoder().encode(clip_of(10, 24), ear.report, ear)
    assert 0 < video.index(b"moov") < video.index(b"mdat")


def test_colours_survive_within_what_yuv_can_say(listener):
    ear = listener()
    video = PyAvVideoEncoder().encode(clip_of(3, 24), ear.report, ear)
    with av.open(io.BytesIO(video), "r", format="mp4") as container:
        frame = next(container.decode(video=0))
        assert frame.colorspace == 1
        pixel = frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()[24, 32]
    assert pixel.tolist() == pytest.approx([200, 60, 30], abs=4)


def test_the_same_frames_make_the_same_bytes(listener):
    ear = listener()
    assert len({PyAvVideoEncoder().encode(clip_of(9, 24), ear.report, ear) for _ in range(2)}) == 1


def test_encoding_is_followed_and_left_when_told(listener):
    ear = listener(stop_at=lambda moment: moment.share > 0)
    with pytest.raises(RenderStopped):
        PyAvVideoEncoder().encode(clip_of(60, 24), ear.report, ear)
    assert ear.phases == [Phase.MUXING]


@pytest.mark.parametrize("store", [MemoryStore, "local"])
async def test_a_stored_video_is_there_whole(store, tmp_path):
    objects = LocalStore(tmp_path) if store == "local" else store()
    await ObstoreVideoStore(objects).put("renders/r1/1/video.mp4", b"x" * 100_000)
    assert bytes((await obstore.get_async(objects, "renders/r1/1/video.mp4")).bytes()) == b"x" * 100_000


@pytest.mark.parametrize("key", ["", "../outside.mp4"])
async def test_a_store_that_refuses_is_a_fact_with_a_name(key, tmp_path):
    with pytest.raises(StorageFailed) as caught:
        await ObstoreVideoStore(LocalStore(tmp_path / "objects", mkdir=True)).put(key, b"x")
    assert str(tmp_path) not in str(caught.value)
    assert not (tmp_path / "outside.mp4").exists()
