"""Rules of the contact sheet, on a tiny video made here."""

import av
import numpy as np
import pytest
from PIL import Image

from forge_cli.contact_sheet import VideoFacts, spaced, write_contact_sheet


@pytest.fixture
def tiny_video(tmp_path):
    path = tmp_path / "tiny.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for shade in range(0, 180, 20):
            frame = av.VideoFrame.from_ndarray(np.full((32, 64, 3), shade, dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_sheet_shows_first_and_last_frame_and_what_lies_between(tiny_video, tmp_path):
    sheet = tmp_path / "tiny.png"
    facts = write_contact_sheet(tiny_video, sheet, title="tiny")
    assert facts == VideoFacts(num_frames=9, width=64, height=32, fps=8.0)
    with Image.open(sheet) as picture:
        assert picture.format == "PNG"
        shades = [picture.convert("L").crop((12 + i * 396, 34, 396 + i * 396, 200)).tobytes()[0] for i in range(5)]
    assert shades == sorted(shades)
    assert shades[0] < 10
    assert shades[-1] > 150


@pytest.mark.parametrize(
    ("frames", "count", "indices"), [(97, 5, [0, 24, 48, 72, 96]), (3, 5, [0, 1, 2]), (1, 5, [0]), (9, 1, [0])]
)
def test_frames_are_evenly_spaced(frames, count, indices):
    assert spaced(frames, count) == indices


def test_a_file_that_is_no_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_text("no")
    with pytest.raises(ValueError, match="Invalid data"):
        write_contact_sheet(tmp_path / "a.mp4", tmp_path / "a.png", title="a")
