"""What of a running platform can be reached, and by whom."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"  # how each connection begins
_HTTP1 = b"GET /healthz HTTP/1.1\r\nhost: forge\r\n\r\n"
_TLS_ALERT = b"\x15"
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def listening(platform) -> dict[int, tuple[str, str]]:
    """By port: the host and the program that listens there."""
    found = {}
    for process in platform.processes(""):
        try:
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.port] = (connection.laddr.ip, " ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.fixture
def services(platform, render_under_way) -> Iterator[dict[int, str]]:
    """By port: the services, and the worker that renders."""
    found = {
        port: command.rpartition("services.")[2]
        for port, (_, command) in listening(platform).items()
        if "services." in command
    }
    yield found
    with platform.client() as client:
        client.post(f"/v1/renders/{render_under_way}/cancel")


def test_nothing_listens_beyond_loopback_but_the_edge(platform, services):
    outside = {port: found for port, found in listening(platform).items() if found[0] not in LOOPBACK}
    assert not outside
    assert {name.split()[0] for name in services.values()} >= {
        "accounts",
        "billing_estimate",
        "catalog",
        "inference_worker",
        "scheduler",
        "web",
    }


def test_a_direct_connection_without_a_certificate_is_refused(platform, services):
    known = ssl.create_default_context(cafile=str(platform.home / "tls" / "ca.pem"))
    known.load_cert_chain(platform.home / "tls" / "edge.pem", platform.home / "tls" / "edge.key")
    for port, name in services.items():
        if _serves_figures(platform, port):
            continue
        assert _answers(port, known), f"{name} does not answer the edge at {port}"
        assert not _answers(port, ssl.create_default_context()), f"{name} answers a stranger at {port}"
        assert not _answers(port, None), f"{name} answers in plain text at {port}"


def _serves_figures(platform, port: int) -> bool:
    """Figures for Prometheus are open to programs on this machine: they say nothing of renders or keys."""
    targets = platform.home / "run" / "prometheus-targets.json"
    return targets.exists() and f":{port}" in targets.read_text()


def _answers(port: int, context: ssl.SSLContext | None) -> bool:
    """Whether a program says anything to a client of this TLS context, or of none: in HTTP/2, or in HTTP/1.1."""
    if context is not None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", port), 10) as connection, suppress(OSError):
        if context is not None:
            connection = context.wrap_socket(connection)
        with connection:
            connection.sendall(_HTTP2 if _speaks_http2(connection) else _HTTP1)
            answer = connection.recv(1)
            return bool(answer) and not (context is None and answer == _TLS_ALERT)
    return False


def _speaks_http2(connection: socket.socket) -> bool:
    return not isinstance(connection, ssl.SSLSocket) or connection.selected_alpn_protocol() == "h2"
