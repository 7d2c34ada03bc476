"""Files of weights read ahead by several threads at once, for the libraries to find them in memory."""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

_THREADS = 8
_PIECE_BYTES = 16 * 2**20
_BUFFER_BYTES = 2**20

Piece = tuple[int, int]
"""How many bytes it has, and their checksum, which is 0 when nobody asked for it."""


class ReadAhead:
    """Files on their way into memory. The system's page cache keeps them, nothing here does.

    diffusers and transformers map files and so read them page by page, and must not run in two threads at once: while
    they build a model they change torch's defaults for the whole process. What can be done by many threads is reading.
    """

    def __init__(self, pieces: dict[Path, "list[Future[Piece]]"]) -> None:
        self._pieces = pieces

    def arrivals(self, file: Path) -> Iterator[int]:
        """The bytes of each further piece of a file, from its first, as soon as they are there. Raises OSError."""
        for piece in self._pieces[file]:
            yield piece.result()[0]

    def digest(self, file: Path) -> bytes:
        """What only files of the same content have, but for one change in four billion. Raises OSError."""
        checksums = b"".join(piece.result()[1].to_bytes(4, "big") for piece in self._pieces[file])
        return hashlib.sha256(checksums).digest()


@contextmanager
def reading_ahead(files: Sequence[Path], *, with_digests: bool) -> Iterator[ReadAhead]:
    """Read files in their order; what has not been read when the block ends is given up.

    A cryptographic hash of all the bytes would cost several times as much as reading them: digests are of checksums.
    """
    pool = ThreadPoolExecutor(_THREADS, "read-ahead")
    try:
        yield ReadAhead(
            {
                file: [
                    pool.submit(_read, file, offset, with_digests)
                    for offset in range(0, file.stat().st_size, _PIECE_BYTES)
                ]
                for file in files
            }
        )
    finally:
        pool.shutdown(cancel_futures=True)


def _read(file: Path, offset: int, with_checksum: bool) -> Piece:
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    done = checksum = 0
    with file.open("rb", buffering=0) as opened:
        opened.seek(offset)
        while count := opened.readinto(buffer[: _PIECE_BYTES - done]):
            if with_checksum:
                checksum = zlib.crc32(buffer[:count], checksum)
            done += count
    return done, checksum
