"""Encoding and storing: pieces that play while they come, exact frame rates, true colours, whole files."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate

import av
import numpy as np
import obstore
import pytest
from obstore.store import LocalStore

from services.inference_worker.adapters.obstore_objects import ObstoreObjects
from services.inference_worker.adapters.pyav_video_encoder import PyAvVideoEncoder
from services.inference_worker.domain.errors import StorageFailed

_SAY_WHAT_WAS_RECORDED = """
import hashlib, pathlib, sys
import numpy
from services.inference_worker.adapters.pyav_video_encoder import PyAvVideoEncoder
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.npy")):
    frames = numpy.load(path)
    recording = PyAvVideoEncoder().record(frames.shape[2], frames.shape[1], 24)
    recording.add(frames)
    print(hashlib.sha256(recording.finish()[1]).hexdigest())
"""


def frames_in_motion(count: int, width: int = 64, height: int = 48) -> np.ndarray:
    """Three waves that drift at different speeds, so that no frame is like another."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack(
        [
            np.stack([columns * 3 + number * 5, rows * 2 + number * 3, rows + columns + number * 7], axis=-1) % 256
            for number in range(count)
        ]
    ).astype(np.uint8)


def recorded(
    frames: np.ndarray, batches: Sequence[int], fps: int = 24, cuts: Sequence[int] | None = None
) -> tuple[list[bytes], bytes]:
    """What every batch and the end gave, and the whole file. Unless told otherwise it is cut after each batch."""
    cuts = list(accumulate(batches)) if cuts is None else cuts
    recording = PyAvVideoEncoder().record(frames.shape[2], frames.shape[1], fps, cuts)
    assert sum(batches) == len(frames)
    pieces = [recording.add(batch) for batch in np.split(frames, np.cumsum(batches)[:-1])]
    last, whole = recording.finish()
    return [*pieces, last], whole


def played(file: bytes) -> tuple[list[Fraction], list[np.ndarray]]:
    """When each frame is shown, in seconds, and its pixels as they are stored."""
    with av.open(io.BytesIO(file), "r", format="mp4") as container:
        frames = list(container.decode(video=0))
        times = [(frame.pts or 0) * (frame.time_base or Fraction(0)) for frame in frames]
        return times, [frame.to_ndarray() for frame in frames]


class Pipe:
    """Pieces for a reader that can only read on."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self._rest = b""

    def read(self, size: int) -> bytes:
        if not self._rest and self.pieces:
            self._rest = self.pieces.pop(0)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def packets(file: bytes) -> list[bytes]:
    with av.open(io.BytesIO(file), "r", format="mp4") as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.dts is not None]


def boxes(file: bytes) -> Iterator[tuple[str, bytes]]:
    """The boxes of an MP4 file, or of a box that holds nothing but boxes: kinds and contents."""
    start = 0
    while start < len(file):
        size = int.from_bytes(file[start : start + 4], "big")
        yield file[start + 4 : start + 8].decode(), file[start + 8 : start + size]
        start += size


def box(content: bytes, *path: str) -> bytes:
    for kind in path:
        content = dict(boxes(content))[kind]
    return content


def same(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> bool:
    return len(some) == len(others) and all(np.array_equal(*pair) for pair in zip(some, others, strict=True))


@pytest.mark.parametrize("fps", [1, 7, 16, 24, 60])
def test_the_file_and_its_pieces_play_at_exactly_the_requested_rate(fps):
    pieces, whole = recorded(frames_in_motion(25), [9, 16], fps)
    for file in (whole, b"".join(pieces)):
        assert played(file)[0] == [Fraction(number, fps) for number in range(25)]
        with av.open(io.BytesIO(file), "r", format="mp4") as container:
            stream = container.streams.video[0]
            assert stream.average_rate == Fraction(fps)
            assert stream.codec_context.pix_fmt == "yuv420p"
            assert stream.duration is not None
            assert stream.time_base is not None
            assert stream.duration * stream.time_base == Fraction(25, fps)


@pytest.mark.parametrize(
    "batches", [[17, 20, 20, 3], [1] * 60, [60], [13, 1, 1, 45]], ids=["blocks", "singly", "at once", "mixed"]
)
def test_the_pieces_so_far_play_as_the_same_frames_of_the_whole_file(batches):
    pieces, whole = recorded(frames_in_motion(60), batches)
    times, pixels = played(whole)
    assert len(times) == 60
    for end in range(1, len(pieces) + 1):
        if so_far := b"".join(pieces[:end]):
            some_times, some_pixels = played(so_far)
            assert some_times == times[: len(some_times)]
            assert same(some_pixels, pixels[: len(some_pixels)])
    assert len(played(b"".join(pieces))[0]) == 60


def test_a_player_that_cannot_seek_shows_the_first_frames_before_it_has_the_last():
    pieces, _ = recorded(frames_in_motion(97, 320, 176), [17, 20, 20, 20, 20])
    pipe = Pipe(pieces)
    with av.open(pipe, "r", format="mp4") as container:
        frames = container.decode(video=0)
        assert next(frames).pts == 0
        assert len(pipe.pieces) >= 2
        assert sum(1 for _ in frames) == 96


def test_frames_can_be_seen_as_soon_as_they_are_added():
    pieces, _ = recorded(frames_in_motion(37), [17, 20])
    assert [len(played(b"".join(pieces[:end]))[0]) for end in (1, 2, 3)] == [17, 37, 37]


@pytest.mark.parametrize(("fps", "enough"), [(1, 16), (7, 16), (24, 16), (33, 17), (60, 30)])
def test_without_cuts_pieces_are_of_at_least_sixteen_frames_that_last_half_a_second(fps, enough):
    pieces, _ = recorded(frames_in_motion(2 * enough + 1), [1] * (2 * enough + 1), fps, cuts=())
    assert [number for number, piece in enumerate(pieces, 1) if piece] == [enough, 2 * enough, 2 * enough + 2]


def test_pieces_end_at_the_cuts_however_the_frames_come():
    pieces, _ = recorded(frames_in_motion(42), [1, 4, 4, 4, 4, 12, 13], cuts=[17, 37])
    assert [number for number, piece in enumerate(pieces, 1) if piece] == [5, 7, 8]
    assert [len(played(b"".join(pieces[:end]))[0]) for end in (5, 7, 8)] == [17, 37, 42]


def test_nothing_is_left_for_the_end_when_the_last_frames_made_a_piece():
    pieces, _ = recorded(frames_in_motion(20), [20])
    assert pieces[-1] == b""


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_video_of_very_few_frames_plays(count):
    pieces, whole = recorded(frames_in_motion(count), [count], 7)
    for file in (whole, b"".join(pieces)):
        assert played(file)[0] == [Fraction(number, 7) for number in range(count)]


def test_a_short_last_piece_keeps_the_time_between_frames():
    _, whole = recorded(frames_in_motion(13), [12, 1])
    durations = box(whole, "moov", "trak", "mdia", "minf", "stbl", "stts")
    assert int.from_bytes(durations[4:8], "big") == 1  # all frames last equally long


def test_the_first_piece_begins_the_file_and_the_others_carry_on():
    pieces, _ = recorded(frames_in_motion(60), [17, 20, 20, 3])
    kinds = [[kind for kind, _ in boxes(piece)] for piece in pieces]
    assert kinds == [["ftyp", "moov", "moof", "mdat"], ["moof", "mdat"], ["moof", "mdat"], ["moof", "mdat"], []]
    pieces = [piece for piece in pieces if piece]
    numbers = [int.from_bytes(box(piece, "moof", "mfhd")[4:], "big") for piece in pieces]
    assert numbers == [1, 2, 3, 4]
    ticks_per_second = int.from_bytes(box(pieces[0], "moov", "trak", "mdia", "mdhd")[12:16], "big")
    starts = [int.from_bytes(box(piece, "moof", "traf", "tfdt")[4:], "big") for piece in pieces]
    assert [Fraction(start, ticks_per_second) * 24 for start in starts] == [0, 17, 37, 57]


def test_every_piece_can_be_played_without_those_before():
    pieces, whole = recorded(frames_in_motion(57), [17, 20, 20])
    header = pieces[0][: pieces[0].index(b"moof") - 4]
    _, pixels = played(whole)
    assert same(played(header + pieces[1])[1], pixels[17:37])
    assert same(played(header + pieces[2])[1], pixels[37:])


@pytest.mark.parametrize("count", [1, 2, 12, 30])
def test_the_header_is_the_same_whatever_the_first_piece_holds(count):
    files = [b"".join(recorded(frames_in_motion(frames), [frames])[0]) for frames in (count, 17)]
    assert len({file[: file.index(b"moof") - 4] for file in files}) == 1


def test_the_whole_file_holds_the_pictures_of_the_pieces_and_no_others():
    pieces, whole = recorded(frames_in_motion(60), [17, 20, 20, 3])
    assert packets(whole) == packets(b"".join(pieces))


def test_the_index_comes_before_the_pictures():
    _, whole = recorded(frames_in_motion(10), [10])
    kinds = [kind for kind, _ in boxes(whole)]
    assert kinds.index("moov") < kinds.index("mdat")
    assert "moof" not in kinds


def test_frames_that_wait_are_not_changed_with_the_array_they_came_in():
    frames = frames_in_motion(12)
    expected = recorded(frames, [4, 8], cuts=[12])
    recording, buffer = PyAvVideoEncoder().record(64, 48, 24, [12]), frames[:4].copy()
    recording.add(buffer)
    buffer[:] = 0
    assert recording.add(frames[4:]) == expected[0][1]


def test_colours_survive_within_what_yuv_can_say():
    frames = np.empty((3, 48, 64, 3), dtype=np.uint8)
    frames[:] = (200, 60, 30)
    pieces, whole = recorded(frames, [3])
    for file in (whole, b"".join(pieces)):
        with av.open(io.BytesIO(file), "r", format="mp4") as container:
            frame = next(container.decode(video=0))
            assert frame.colorspace == 1
            pixel = frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()[24, 32]
        assert pixel.tolist() == pytest.approx([200, 60, 30], abs=4)


def test_the_same_frames_make_the_same_bytes_whatever_memory_held_before(tmp_path, monkeypatch):
    """Some of x264's decisions would rest on memory that nobody has written."""
    for width, height in [(48, 32), (96, 64), (128, 256), (320, 176)]:
        np.save(tmp_path / f"{width}.npy", frames_in_motion(17, width, height))
    answers = []
    for filling in ("1", "85", "170"):
        monkeypatch.setenv("MALLOC_PERTURB_", filling)
        script = [sys.executable, "-c", _SAY_WHAT_WAS_RECORDED, str(tmp_path)]
        answers.append(subprocess.run(script, check=True, capture_output=True, text=True).stdout)
    assert len(answers[0].splitlines()) == 4
    assert len(set(answers)) == 1


@pytest.mark.parametrize("cuts", [(), (17, 37)])
def test_how_the_frames_come_makes_no_difference_to_the_bytes(cuts):
    frames = frames_in_motion(42)
    pieces, whole = recorded(frames, [4, 13, 20, 5], cuts=cuts)
    others, other_whole = recorded(frames, [42], cuts=cuts)
    assert b"".join(pieces) == b"".join(others)
    assert whole == other_whole


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or os.cpu_count() == 1, reason="cannot change how many cores there are"
)
def test_the_number_of_cores_makes_no_difference_to_the_bytes():
    frames = frames_in_motion(24, 128, 256)
    cores = os.sched_getaffinity(0)
    everywhere = recorded(frames, [24])
    os.sched_setaffinity(0, {min(cores)})
    try:
        on_one = recorded(frames, [24])
    finally:
        os.sched_setaffinity(0, cores)
    assert on_one == everywhere


async def test_a_stored_object_is_read_as_it_was_written(objects):
    await ObstoreObjects(objects).put("renders/r1/1/video.mp4", b"x" * 100_000)
    assert bytes((await obstore.get_async(objects, "renders/r1/1/video.mp4")).bytes()) == b"x" * 100_000
    assert await ObstoreObjects(objects).get("renders/r1/1/video.mp4") == b"x" * 100_000


async def test_an_object_written_again_is_replaced(objects):
    kept = ObstoreObjects(objects)
    await kept.put("renders/r1/1/checkpoint", b"first, and longer")
    await kept.put("renders/r1/1/checkpoint", b"second")
    assert await kept.get("renders/r1/1/checkpoint") == b"second"


@pytest.mark.parametrize("key", ["", "../outside.mp4"])
async def test_a_store_that_refuses_is_a_fact_with_a_name(key, tmp_path):
    with pytest.raises(StorageFailed) as caught:
        await ObstoreObjects(LocalStore(tmp_path / "objects", mkdir=True)).put(key, b"x")
    assert str(tmp_path) not in str(caught.value)
    assert not (tmp_path / "outside.mp4").exists()


@pytest.mark.parametrize("key", ["", "renders/r1/1/nothing", "../outside.mp4"])
async def test_an_object_that_is_not_there_is_a_fact_with_a_name(key, tmp_path):
    (tmp_path / "outside.mp4").write_bytes(b"not for readers of the store")
    with pytest.raises(StorageFailed) as caught:
        await ObstoreObjects(LocalStore(tmp_path / "objects", mkdir=True)).get(key)
    assert str(tmp_path) not in str(caught.value)
