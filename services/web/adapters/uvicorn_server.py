"""The HTTP server of the web service: only the edge gets in, and the process it runs in hears the signals."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from services.chassis.trust import EDGE, PLAIN_LOOPBACK, Certificates, Trust

log = structlog.get_logger()


@asynccontextmanager
async def serving(
    address: str, app: ASGIApp, *, grace_seconds: float, trust: Trust = PLAIN_LOOPBACK
) -> AsyncIterator[None]:
    """Serve `app` on "host:port" until the block ends; requests under way get `grace_seconds` to finish."""
    host, _, port = address.rpartition(":")
    config = uvicorn.Config(
        app,
        host=host,
        port=int(port),
        http=_ForTheEdge if trust.certificates else H11Protocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=3600,  # the edge closes its connections; one that closed first would fail requests
        timeout_graceful_shutdown=max(1, round(grace_seconds)),
        **_tls(trust.certificates),
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    try:
        log.info("serving", address=address)
        yield
    finally:
        server.should_exit = True
        await task
        log.info("stopped")


def _tls(certificates: Certificates | None) -> dict[str, Any]:
    if certificates is None:
        return {}
    return {
        "ssl_certfile": certificates.chain,
        "ssl_keyfile": certificates.key,
        "ssl_ca_certs": str(certificates.authority),
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
    }


class _Server(uvicorn.Server):
    """A server that leaves signals to the process it runs in."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class _ForTheEdge(H11Protocol):
    """Hangs up on whoever has a certificate that is not the edge's: what a request says of its key is believed."""

    def connection_made(self, transport: Any) -> None:
        """Look who it is before anything is read."""
        super().connection_made(transport)
        names = (transport.get_extra_info("peercert") or {}).get("subjectAltName", ())
        self._is_edge = ("URI", EDGE) in names
        if not self._is_edge:
            log.warning("a program that is not the edge was refused", names=[name for _, name in names])
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """What came in one piece with the handshake is not read either."""
        if self._is_edge:
            super().data_received(data)
