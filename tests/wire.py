"""HTTP as bytes, for requests that no client library would send."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
NO_DYNAMIC_TABLE = b"\0\1\0\0\0\0"
"""A setting that keeps the other side's headers readable one by one."""

_STATIC_STATUSES = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
_HUFFMAN_DIGITS = {"00000": "0", "00001": "1", "00010": "2"} | {f"{0b011001 + n:06b}": str(3 + n) for n in range(7)}


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP/1.1. `status` is 0 when nothing did."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_closed: bool = False
    """Whether the connection was closed afterwards, or instead."""


@dataclass(frozen=True)
class Frame:
    """One frame of HTTP/2."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def status(self) -> int:
        """The status of a HEADERS frame that begins an answer; 0 for any other frame."""
        block = self.payload.lstrip(b"\x20")  # "from here on the table has no room"
        if self.kind != HEADERS or not block:
            return 0
        first = block[0]
        if first in (0x08, 0x48, 0x18) and len(block) > 1:
            length, value = block[1] & 0x7F, block[2:]
            is_huffman = block[1] & 0x80
            return int(_digits(value[:length]) if is_huffman else value[:length] or b"0")
        return _STATIC_STATUSES.get(first, 0)


@asynccontextmanager
async def connection(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to "host:port" while the block runs."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def exchange(address: str, data: bytes, *, patience_seconds: float = 10.0) -> Answer:
    """Send bytes, and read one answer of HTTP/1.1; what does not come within `patience_seconds` does not come."""
    async with connection(address) as (reader, writer):
        with suppress(OSError):
            writer.write(data)
            await writer.drain()
        return await answered(reader, patience_seconds=patience_seconds)


async def answered(reader: asyncio.StreamReader, *, patience_seconds: float = 10.0) -> Answer:
    """One answer of HTTP/1.1, and whether the connection ends with it."""
    try:
        async with asyncio.timeout(patience_seconds):
            head = await reader.readuntil(b"\r\n\r\n")
            status, headers = _head(head)
            if status == 100:
                status, headers = _head(await reader.readuntil(b"\r\n\r\n"))
            body = await reader.readexactly(int(headers.get("content-length", 0)))
    except TimeoutError:
        return Answer()
    except (asyncio.IncompleteReadError, OSError):
        return Answer(is_closed=True)
    return Answer(status, headers, body, is_closed=headers.get("connection") == "close")


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame as it stands on the wire."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def header_block(headers: Iterable[tuple[str | bytes, str | bytes]]) -> bytes:
    """Headers, each written out, without Huffman's code and without a place in any table."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in headers)


def request_headers(path: str, address: str, *more: tuple[str, str], method: str = "GET") -> bytes:
    """The header block of a request."""
    pseudo = ((":method", method), (":scheme", "http"), (":authority", address), (":path", path))
    return header_block([*pseudo, *more])


@asynccontextmanager
async def http2(address: str) -> AsyncIterator["Http2"]:
    """A connection of HTTP/2, its settings exchanged."""
    async with connection(address) as (reader, writer):
        link = Http2(reader, writer)
        await link.send(PREFACE + frame(SETTINGS, 0, 0, NO_DYNAMIC_TABLE) + frame(SETTINGS, ACK, 0))
        yield link


class Http2:
    """Frames, one by one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> bool:
        """Send bytes; False when the other side has closed."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            return False
        return not self._reader.at_eof()

    async def until(self, *kinds: int, patience_seconds: float = 10.0) -> Frame | None:
        """The next frame of one of these kinds; None when the connection ends or nothing comes."""
        try:
            async with asyncio.timeout(patience_seconds):
                while True:
                    found = await self._read()
                    if found.kind in kinds:
                        return found
        except (asyncio.IncompleteReadError, OSError, TimeoutError):
            return None

    async def is_refused(self) -> bool:
        """Whether the other side says that this is the end of the connection, or simply ends it."""
        found = await self.until(GOAWAY)
        return found is not None or self._reader.at_eof() or self._reader.exception() is not None

    async def _read(self) -> Frame:
        head = await self._reader.readexactly(9)
        payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
        return Frame(head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFF_FFFF, payload)


def _string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return _integer(len(data)) + data


def _integer(value: int) -> bytes:
    """A number in seven bits and what is left in bytes of seven each."""
    if value < 127:
        return bytes((value,))
    value -= 127
    rest = []
    while value >= 128:
        rest.append(value % 128 + 128)
        value //= 128
    return bytes((127, *rest, value))


def _digits(data: bytes) -> str:
    """Digits in Huffman's code; what comes after them is padding."""
    bits, found = "".join(f"{byte:08b}" for byte in data), ""
    while bits:
        for size in (5, 6):
            if digit := _HUFFMAN_DIGITS.get(bits[:size]):
                found, bits = found + digit, bits[size:]
                break
        else:
            break
    return found or "0"
