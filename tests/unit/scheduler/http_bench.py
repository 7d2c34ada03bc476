"""Servers on loopback that answer as they are told, and a name server that says what it is told."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

NAME = "hooks.example.com"
"""The host that `a_certificate` is of."""

Answering = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """A server on a loopback address that answers as it is told."""

    answering: Answering
    keeps_open: bool = False
    port: int = 0
    connections: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.take(reader, writer)
            while self.keeps_open:
                await self.take(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side has seen enough, or the test has
        finally:
            writer.close()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append((head[0], headers, body))
        await self.answering(writer)
        await writer.drain()


@asynccontextmanager
async def a_server(
    answering: Answering, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, keeps_open: bool = False
) -> AsyncIterator[Server]:
    subject = Server(answering, keeps_open)
    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: subject.server_names.append(name)
    server = await asyncio.start_server(subject.serve, host, 0, ssl=tls)
    subject.port = server.sockets[0].getsockname()[1]
    async with server:
        yield subject


def saying(*parts: bytes | str) -> Answering:
    async def answer(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part.encode() if isinstance(part, str) else part)

    return answer


def status(code: int, *headers: str) -> Answering:
    return saying(f"HTTP/1.1 {code} X\r\n", *(f"{header}\r\n" for header in headers), "content-length: 0\r\n\r\n")


async def silence(_writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


class Names:
    """A name server that says what it is told, one list of addresses after the other."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if self.answers else []


def a_certificate(folder: Path) -> Path:
    """A certificate of NAME with its key in one file; it is its own authority."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    extension = ["-addext", f"subjectAltName=DNS:{NAME}"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*command.split(), *extension, *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both
