"""Many watchers of event streams in few processes: they note when bytes came, and read them only afterwards."""

import json
import resource
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing import get_context
from typing import Any

PROCESSES = 2
_CHUNK = 256 * 1024


@dataclass(frozen=True)
class Seen:
    """An event as one watcher got it. Times are of the wall clock of this machine, in seconds."""

    seq: int
    told_at: float
    seen_at: float


@dataclass
class Watched:
    """What one watcher got of one render."""

    render_id: str
    opened_at: float
    status: int = 0
    events: list[Seen] = field(default_factory=list)
    """Without signs of life."""
    ended_at: float = 0.0


class Crowd:
    """Watchers that have opened their streams, or are about to. They stay to the ends of their renders."""

    def __init__(self, address: str, key: str, render_ids: Sequence[str], *, within_seconds: float) -> None:
        context = get_context("spawn")
        self._ends: list[Any] = []
        self._processes = []
        for number in range(PROCESSES):
            here, there = context.Pipe()
            mine = render_ids[number::PROCESSES]
            process = context.Process(target=_watch, args=(there, address, key, mine, within_seconds))
            process.start()
            self._processes.append(process)
            self._ends.append(here)
        for end in self._ends:
            end.recv()  # it has started
        for end in self._ends:
            end.send("go")

    def until_all_see(self) -> float:
        """Return once every watcher has got something; when that was."""
        return max(end.recv() for end in self._ends)

    def results(self) -> tuple[list[Watched], float]:
        """Wait for the ends of all streams: what everybody got, and the processor time that the crowd took."""
        watched, cpu_seconds = [], 0.0
        for end, process in zip(self._ends, self._processes, strict=True):
            mine, spent = end.recv()
            watched += mine
            cpu_seconds += spent
            process.join()
        return watched, cpu_seconds


def _watch(parent: Any, address: str, key: str, render_ids: Sequence[str], within_seconds: float) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    selector = selectors.DefaultSelector()
    received: list[list[tuple[float, bytes]]] = [[] for _ in render_ids]
    watched: list[Watched] = []
    parent.send("ready")
    parent.recv()
    began, spent = time.time(), time.process_time()
    silent = len(render_ids)

    def receive(timeout: float | None) -> int:
        """Note what came; how many streams ended."""
        nonlocal silent
        ended = 0
        for found, _ in selector.select(timeout):
            stream: socket.socket = found.fileobj  # type: ignore[assignment] — it is one
            data = stream.recv(_CHUNK)
            if not received[found.data]:
                silent -= 1
            received[found.data].append((time.time(), data))
            if not data:
                selector.unregister(stream)
                stream.close()
                ended += 1
        return ended

    left = len(render_ids)
    for number, render_id in enumerate(render_ids):
        while time.time() < began + within_seconds * number / len(render_ids):
            left -= receive(0.001)
        stream = opened(address, key, render_id)
        watched.append(Watched(render_id, time.time()))
        selector.register(stream, selectors.EVENT_READ, number)
    while silent:
        left -= receive(None)
    parent.send(time.time())
    while left:
        left -= receive(None)
    spent = time.process_time() - spent
    for one, parts in zip(watched, received, strict=True):
        _read(one, parts)
    parent.send((watched, spent))


def opened(address: str, key: str, render_id: str) -> socket.socket:
    """A connection that has asked for a render's events as lines of JSON."""
    stream = _connected(address)
    request = (
        f"GET /v1/renders/{render_id}/events HTTP/1.1\r\nhost: {address}\r\n"
        f"authorization: Bearer {key}\r\nconnection: close\r\n\r\n"
    )
    stream.sendall(request.encode())
    return stream


def _read(watched: Watched, parts: Sequence[tuple[float, bytes]]) -> None:
    rest = b""
    for moment, data in parts:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"HTTP/"):
                watched.status = int(line.split()[1])
            elif b'"seq"' in line:
                event = json.loads(line[line.index(b"{") :])
                if not event["keep_alive"]:
                    told_at = datetime.fromisoformat(event["at"]).timestamp()
                    watched.events.append(Seen(event["seq"], told_at, moment))
    watched.ended_at = parts[-1][0] if parts else 0.0


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS, _HEADERS = 0x4, 0x1
_NO_ROOM = b"\x00\x04\x00\x00\x00\x00"  # SETTINGS_INITIAL_WINDOW_SIZE = 0: the answer may not begin


@contextmanager
def never_reading(address: str, key: str, paths: Sequence[str]) -> Iterator[None]:
    """A client for each path who takes not one byte of what it asked for, while the block runs."""
    with ExitStack() as stack:
        for path in paths:
            stream = stack.enter_context(_connected(address))
            headers = {
                ":method": "GET",
                ":scheme": "http",
                ":authority": address,
                ":path": path,
                "authorization": f"Bearer {key}",
            }
            packed = b"".join(b"\x00" + _string(name) + _string(value) for name, value in headers.items())
            stream.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, _NO_ROOM) + _frame(_HEADERS, 0x5, 1, packed))
        yield


def _connected(address: str) -> socket.socket:
    host, _, port = address.partition(":")
    return socket.create_connection((host, int(port)))


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def _string(text: str) -> bytes:
    """A string as HPACK writes it without compression."""
    if len(text) >= 127:
        raise ValueError("too long for one byte of length")
    return bytes([len(text)]) + text.encode()
