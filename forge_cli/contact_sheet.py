"""A contact sheet: evenly spaced frames of a video in one labelled picture."""

from dataclasses import dataclass
from pathlib import Path

import av
import av.error
from PIL import Image, ImageDraw, ImageFont

_FRAME_WIDTH = 384
_MARGIN = 12
_LABEL_HEIGHT = 24
_TITLE_HEIGHT = 34
_PAPER, _INK = (18, 18, 22), (232, 232, 238)


@dataclass(frozen=True)
class VideoFacts:
    """What decoding a video showed."""

    num_frames: int
    width: int
    height: int
    fps: float


def write_contact_sheet(video: Path, sheet: Path, *, title: str, count: int = 5) -> VideoFacts:
    """Decode `video` and write `count` of its frames, first and last included, as a PNG. Returns what was decoded.

    Raises ValueError for a file that cannot be decoded or holds no frames, OSError when the sheet cannot be written.
    """
    try:
        facts, pictures = _decode(video, count)
    except av.error.FFmpegError as error:
        raise ValueError(str(error)) from error
    fps = facts.fps
    heading = f"{title}   {facts.num_frames} frames {facts.width}x{facts.height}" + (f" at {fps:g} fps" if fps else "")
    labels = {index: f"frame {index + 1}" + (f"   {index / fps:.2f} s" if fps else "") for index in pictures}
    _draw(heading, [(labels[index], picture) for index, picture in pictures.items()]).save(sheet, format="PNG")
    return facts


def _decode(video: Path, count: int) -> tuple[VideoFacts, dict[int, Image.Image]]:
    """The facts, and the wanted frames by index. One pass counts and one picks: few frames are held at once."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        fps = float(stream.average_rate or 0)
        num_frames = sum(1 for _ in container.decode(stream))
    if not num_frames:
        raise ValueError(f"{video} has no frames")
    wanted = spaced(num_frames, count)
    pictures: dict[int, Image.Image] = {}
    with av.open(str(video)) as container:
        for index, frame in enumerate(container.decode(container.streams.video[0])):
            if index in wanted:
                pictures[index] = frame.to_image()
    width, height = pictures[0].size
    return VideoFacts(num_frames, width, height, fps), pictures


def spaced(num_frames: int, count: int) -> list[int]:
    """Indices of up to `count` frames, evenly spaced from the first to the last."""
    if num_frames <= count or count == 1:
        return list(range(min(num_frames, count)))
    return [round(i * (num_frames - 1) / (count - 1)) for i in range(count)]


def _draw(heading: str, pictures: list[tuple[str, Image.Image]]) -> Image.Image:
    height = round(pictures[0][1].height * _FRAME_WIDTH / pictures[0][1].width)
    sheet = Image.new(
        "RGB",
        (
            _MARGIN + len(pictures) * (_FRAME_WIDTH + _MARGIN),
            _TITLE_HEIGHT + height + _LABEL_HEIGHT + _MARGIN,
        ),
        _PAPER,
    )
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN - 2), heading, fill=_INK, font=ImageFont.load_default(size=16))
    small = ImageFont.load_default(size=13)
    for place, (label, picture) in enumerate(pictures):
        left = _MARGIN + place * (_FRAME_WIDTH + _MARGIN)
        sheet.paste(
            picture.convert("RGB").resize((_FRAME_WIDTH, height), Image.Resampling.LANCZOS), (left, _TITLE_HEIGHT)
        )
        pen.text((left, _TITLE_HEIGHT + height + 5), label, fill=_INK, font=small)
    return sheet
