"""MP4 files with H.264, through PyAV."""

from __future__ import annotations  # numpy and av are imported late: the worker serves before it imports them

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from services.inference_worker.domain.attempt import Phase
from services.inference_worker.ports import Clip, Moment, Report, Stop

if TYPE_CHECKING:
    import av
    import av.container
    from av.video.stream import VideoStream

# Without mbtree: with it the same small frames made different files, about one time in six.
_X264 = {"crf": "17", "preset": "fast", "x264-params": "mbtree=0"}
_BT709 = 1
_LIMITED_RANGE = 1
_REPORT_EVERY = 25


class PyAvVideoEncoder:
    """Encodes with x264 as browsers play it: yuv420p, BT.709, the index before the pictures."""

    media_type = "video/mp4"

    def encode(self, clip: Clip, report: Report, stop: Stop) -> bytes:
        """The clip as MP4. Width and height must be even."""
        import av

        report(Moment(Phase.MUXING, 0.0, message="writing the video"))
        # Putting the index first rewrites the file at its end, which needs a real one.
        with tempfile.TemporaryDirectory(prefix="forge-mux-") as directory:
            path = Path(directory) / "video.mp4"
            with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
                stream = _stream(container, clip)
                for frame in self._frames(clip, report, stop):
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
            return path.read_bytes()

    def _frames(self, clip: Clip, report: Report, stop: Stop) -> Iterator[av.VideoFrame]:
        import av

        total = len(clip.frames)
        for number, pixels in enumerate(clip.frames):
            stop.check()
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE)
            frame.pts = number
            frame.time_base = Fraction(1, clip.fps)
            yield frame
            if (number + 1) % _REPORT_EVERY == 0:
                report(Moment(Phase.MUXING, (number + 1) / total, message=f"wrote {number + 1} of {total} frames"))


def _stream(container: av.container.OutputContainer, clip: Clip) -> VideoStream:
    _, height, width, _ = clip.frames.shape
    stream = container.add_stream("libx264", rate=Fraction(clip.fps), options=_X264)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.time_base = Fraction(1, clip.fps)
    stream.codec_context.color_range = _LIMITED_RANGE
    for quality in ("colorspace", "color_primaries", "color_trc"):
        setattr(stream.codec_context, quality, _BT709)
    return stream
