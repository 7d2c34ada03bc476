"""A receiver of webhooks on this machine."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook as Verifier


@dataclass
class Receiver:
    """A server that takes messages and answers with the status it is told, once it may."""

    server: ThreadingHTTPServer
    status: int = 204
    messages: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    """Headers in lower case and body of each, in order of arrival."""
    answers: threading.Event = field(default_factory=threading.Event)
    """While it is not set, whoever has sent a message waits for the answer."""

    def __post_init__(self) -> None:
        self.answers.set()

    @property
    def url(self) -> str:
        """Where to send messages to."""
        return f"http://127.0.0.1:{self.server.server_port}/forge"

    def told(self, secret: str, render_id: str) -> list[dict[str, Any]]:
        """What it was told of a render, in order of arrival; every message is verified."""
        verified = [Verifier(secret).verify(body, headers) for headers, body in list(self.messages)]
        return [message for message in verified if message["data"]["render_id"] == render_id]

    def ids(self) -> list[str]:
        """The delivery that each message belongs to."""
        return [headers["webhook-id"] for headers, _ in list(self.messages)]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            subject.messages.append(({name.lower(): value for name, value in self.headers.items()}, body))
            subject.answers.wait()
            with suppress(ConnectionError):  # whoever asked may be gone
                self.send_response(subject.status)
                self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the library's name
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        subject = Receiver(server)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield subject
        finally:
            subject.answers.set()
            server.shutdown()
            thread.join()
