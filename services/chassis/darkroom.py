"""Where images are decoded: in processes of their own, one for each, which a bad image can end without harm."""

import json
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

import structlog

from services.chassis.images import MAX_PIXELS, ImageFile, ImageRefused

log = structlog.get_logger()

SECONDS = 15.0
"""How long an image may take before its decoder is killed."""

_PROGRAM = (sys.executable, "-I", "-m", "services.chassis.image_decoder")
_MAX_LINE_BYTES = 4096
_BYTES_PER_PIXEL = 3


@dataclass(frozen=True)
class Size:
    """Width and height of a picture the right way up, in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """Pixels in RGB, row by row, at the size that was asked for, and the size of the picture they were made of."""

    pixels: bytes = field(repr=False)
    original: Size


class _DecoderDied(Exception):
    """The process ended instead of answering, or made no sense."""


class Darkroom:
    """Decodes images, for any number of threads at once. Each image has a process of its own.

    `spares` of them wait with their imports done, from the first image on or from `start`; they end with this process.
    """

    def __init__(self, spares: int = 1, *, seconds: float = SECONDS) -> None:
        self._spares = spares
        self._seconds = seconds
        self._waiting: deque[subprocess.Popen[bytes]] = deque()
        self._is_closed = False
        self._lock = threading.Lock()

    @property
    def waiting_pids(self) -> list[int]:
        """The processes that wait for an image."""
        with self._lock:
            return [process.pid for process in self._waiting]

    def start(self) -> None:
        """Have the spares at hand."""
        with self._lock:
            while len(self._waiting) < self._spares and not self._is_closed:
                self._waiting.append(_new_process())

    def size(self, file: ImageFile) -> Size:
        """The size of a picture, once all of it was decoded. Raises ImageRefused."""
        return self._decode(file, None).original

    def picture(self, file: ImageFile, *, width: int, height: int) -> Picture:
        """A picture, resized to `width` x `height` pixels. Raises ImageRefused."""
        return self._decode(file, Size(width, height))

    def close(self) -> None:
        """End the processes that wait."""
        with self._lock:
            self._is_closed = True
            for process in self._waiting:
                _end(process)
            self._waiting.clear()

    def _decode(self, file: ImageFile, fit: Size | None) -> Picture:
        # One that died may have been killed by somebody, whatever it was decoding: a second one shows.
        for _ in range(2):
            with suppress(_DecoderDied):
                return self._in_a_process(file, fit)
        raise ImageRefused("cannot be decoded: save it anew as a plain PNG or JPEG")

    def _in_a_process(self, file: ImageFile, fit: Size | None) -> Picture:
        process = self._take()
        is_late = threading.Event()

        def give_up() -> None:
            is_late.set()
            process.kill()

        watchdog = threading.Timer(self._seconds, give_up)
        watchdog.start()
        try:
            return _asked(process, file, fit)
        except (OSError, EOFError):
            _end(process)
            log.warning("an image decoder ended", is_late=is_late.is_set(), status=process.returncode)
            if is_late.is_set():
                raise ImageRefused("takes too long to decode: save it anew as a plain PNG or JPEG") from None
            raise _DecoderDied from None
        finally:
            watchdog.cancel()
            _end(process)
            self.start()

    def _take(self) -> subprocess.Popen[bytes]:
        with self._lock:
            while self._waiting:
                process = self._waiting.popleft()
                if process.poll() is None:
                    return process
                _end(process)
        return _new_process()


def _new_process() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 — the program is ours, and no text of a request is an argument of it
        _PROGRAM,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what libraries say of a picture belongs into no log
        cwd="/",
        env={},  # keys and addresses of the service are none of its business
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # of what it was not told any more
            _pipe(pipe).close()
    process.wait()


def _asked(process: "subprocess.Popen[bytes]", file: ImageFile, fit: Size | None) -> Picture:
    """What a decoder makes of a file. Raises ImageRefused, and OSError or EOFError when it ends or makes no sense.

    Of the answer only a refusal, a size and as many bytes as were asked for are believed.
    """
    to, of = _pipe(process.stdin), _pipe(process.stdout)
    request = {
        "media_type": file.media_type,
        "size_bytes": len(file.data),
        "fit": None if fit is None else [fit.width, fit.height],
    }
    to.write(json.dumps(request).encode() + b"\n")
    to.write(file.data)
    to.flush()
    try:
        facts = json.loads(of.readline(_MAX_LINE_BYTES))
        refused, width, height = facts.get("refused"), facts.get("width"), facts.get("height")
    except (ValueError, AttributeError):
        raise EOFError from None
    if isinstance(refused, str):
        raise ImageRefused(refused)
    if not (_is_side(width) and _is_side(height) and width * height <= MAX_PIXELS):
        raise EOFError
    pixels = b"" if fit is None else of.read(fit.width * fit.height * _BYTES_PER_PIXEL)
    if facts.get("size_bytes") != len(pixels):
        raise EOFError
    return Picture(pixels, Size(width, height))


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("decoders are started with pipes")
    return pipe


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
