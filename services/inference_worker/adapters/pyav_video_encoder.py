"""MP4 files with H.264 that play while they grow, through PyAV."""

from __future__ import annotations  # numpy and av are imported late: the worker serves before it imports them

import io
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av
    import av.container
    import numpy as np
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

# The same frames must make the same file. mbtree reads memory that nobody has written, and left to itself x264 takes as
# many threads as there are cores, which changes what it writes.
_X264 = {"crf": "17", "preset": "fast", "x264-params": "mbtree=0"}
_THREADS = 4
_REORDERED_FRAMES = 2  # how many frames later than decoded the first is shown; so many x264 needs for its B-frames

# A fragment that can follow others: its time counts from the start of the video, and no index ends it. The header is
# written late because only then it says how much later than decoded the first frame is shown.
_FRAGMENT = "empty_moov+delay_moov+default_base_moof+frag_discont+skip_trailer"
_LEAST_FRAMES = 16

_BT709 = 1
_LIMITED_RANGE = 1


class PyAvVideoEncoder:
    """Encodes with x264 as browsers play it: yuv420p, BT.709."""

    media_type = "video/mp4"

    def record(self, width: int, height: int, fps: int, cuts: Sequence[int] = ()) -> PyAvRecording:
        """Begin a file that plays at exactly `fps`. Width and height are even."""
        return PyAvRecording(width, height, fps, cuts)


class PyAvRecording:
    """A fragmented MP4 of closed groups of pictures, and the same pictures as an MP4 with its index at the front.

    A piece ends at each of the `cuts`, which count frames from the start; without any, whenever it has sixteen frames
    that last half a second. It is encoded on its own, so that its frames wait for no later ones. Its first picture
    borrows from none before it, which makes a file of twenty-frame pieces about a fifth larger. The same frames with
    the same cuts make the same bytes, however they come.
    """

    def __init__(self, width: int, height: int, fps: int, cuts: Sequence[int]) -> None:
        self._width, self._height, self._fps = width, height, fps
        self._cuts = cuts
        self._waiting: list[av.VideoFrame] = []
        self._pieces: list[bytes] = []
        self._num_frames = 0

    @property
    def num_frames(self) -> int:
        """Frames that the pieces hold."""
        return self._num_frames

    def add(self, frames: NDArray[np.uint8]) -> bytes:
        """Take the next frames, uint8 RGB in shape (frames, height, width, 3); the pieces that are finished by now."""
        self._waiting += [self._frame(pixels) for pixels in frames]
        pieces = b""
        while (length := self._next_length()) <= len(self._waiting):
            pieces += self._piece(length)
        return pieces

    def finish(self) -> tuple[bytes, bytes]:
        """The last piece, empty when there is none, and the whole file. At least one frame was added."""
        last = self._piece(len(self._waiting)) if self._waiting else b""
        return last, self._whole()

    def _next_length(self) -> int:
        """How many frames the next piece has; more than there can be when the last cut was made."""
        if not self._cuts:
            return max(_LEAST_FRAMES, -(-self._fps // 2))
        return next((cut - self._num_frames for cut in self._cuts if cut > self._num_frames), sys.maxsize)

    def _frame(self, pixels: NDArray[np.uint8]) -> av.VideoFrame:
        import av

        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        return frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE)

    def _piece(self, length: int) -> bytes:
        import av

        frames, self._waiting = self._waiting[:length], self._waiting[length:]
        file = io.BytesIO()
        options = {"movflags": _FRAGMENT, "fragment_index": str(len(self._pieces) + 1)}
        with av.open(file, "w", format="mp4", container_options=options) as container:
            stream = self._stream(container)
            first = self._num_frames
            for number, frame in enumerate(frames, first):
                frame.pts, frame.time_base = number, Fraction(1, self._fps)
            packets = [packet for frame in (*frames, None) for packet in stream.encode(frame)]
            for number, packet in enumerate(packets, first):
                # x264 forgets that the shown may lag behind the decoded when it has fewer than three frames.
                packet.dts = number - _REORDERED_FRAMES
            container.mux(packets)
        piece = file.getvalue()
        if self._pieces:
            piece = _without_header(piece)
        self._num_frames += len(frames)
        self._pieces.append(piece)
        return piece

    def _stream(self, container: av.container.OutputContainer) -> VideoStream:
        stream = container.add_stream("libx264", rate=Fraction(self._fps), options=_X264)
        stream.width, stream.height, stream.pix_fmt = self._width, self._height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, self._fps)
        stream.codec_context.thread_count = _THREADS
        stream.codec_context.color_range = _LIMITED_RANGE
        for quality in ("colorspace", "color_primaries", "color_trc"):
            setattr(stream.codec_context, quality, _BT709)
        return stream

    def _whole(self) -> bytes:
        """The pieces in one file, their pictures as they are."""
        import av

        # Putting the index first rewrites the file at its end, which needs a real one.
        with tempfile.TemporaryDirectory(prefix="forge-mux-") as directory:
            path = Path(directory) / "video.mp4"
            with (
                av.open(io.BytesIO(b"".join(self._pieces)), "r", format="mp4") as pieces,
                av.open(str(path), "w", container_options={"movflags": "faststart"}) as whole,
            ):
                source = pieces.streams.video[0]
                stream = whole.add_stream_from_template(source)
                for packet in pieces.demux(source):
                    if packet.dts is None:  # how PyAV marks the end
                        continue
                    packet.stream = stream
                    whole.mux(packet)
            return path.read_bytes()


def _without_header(piece: bytes) -> bytes:
    """A piece from its fragment on. The header before it is the first piece's, byte for byte."""
    start = 0
    while piece[start + 4 : start + 8] != b"moof":
        start += int.from_bytes(piece[start : start + 4])
    return piece[start:]
