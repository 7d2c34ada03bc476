"""A collector elsewhere that is told of the same spans, over OTLP/gRPC."""

from __future__ import annotations  # grpc classes are generic in their stubs only

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import structlog
from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.util.re import parse_env_headers

from services.chassis.strict_yaml import ConfigurationInvalid
from services.chassis.tasks import in_background
from services.traces.ports import Meters

log = structlog.get_logger()

MOST_WAITING = 256
"""So many messages wait for a collector that is away; then the oldest are dropped."""
TIMEOUT_SECONDS = 10.0
_LAST_SECONDS = 1.0

Request = trace_service_pb2.ExportTraceServiceRequest


class OtlpCollector:
    """Passes messages on in the order in which they came; nobody waits for that."""

    def __init__(self, channel: aio.Channel, headers: tuple[tuple[str, str], ...], meters: Meters) -> None:
        self._stub = trace_service_pb2_grpc.TraceServiceStub(channel)
        self._headers = headers
        self._meters = meters
        self._waiting: asyncio.Queue[Request] = asyncio.Queue(MOST_WAITING)
        self._is_away = False

    def pass_on(self, request: Request) -> None:
        """Send a message when its turn comes."""
        if self._waiting.full():
            self._drop(self._waiting.get_nowait())
        self._waiting.put_nowait(request)

    async def work(self) -> None:
        """Send until canceled."""
        while True:
            await self._send(await self._waiting.get(), TIMEOUT_SECONDS)

    async def send_the_rest(self) -> None:
        """Send what still waits, unless that takes longer than a moment."""
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                while not self._waiting.empty():
                    await self._send(self._waiting.get_nowait(), _LAST_SECONDS)
        except TimeoutError:
            pass

    async def _send(self, request: Request, seconds: float) -> None:
        try:
            await self._stub.Export(request, timeout=seconds, metadata=self._headers, wait_for_ready=True)
        except aio.AioRpcError as error:
            self._drop(request)
            if not self._is_away:
                log.warning("spans are not passed on: the collector does not take them", code=error.code().name)
            self._is_away = True
        else:
            self._is_away = False

    def _drop(self, request: Request) -> None:
        spans = sum(len(scope.spans) for group in request.resource_spans for scope in group.scope_spans)
        self._meters.dropped(spans, "not_passed_on")


@asynccontextmanager
async def collector_at(
    endpoint: str,
    *,
    headers: str,
    certificate: Path | None,
    meters: Meters,
    on_failure: Callable[[], None],
) -> AsyncIterator[OtlpCollector]:
    """Pass spans on to `endpoint` until the block ends: "http://host:port", or "https://…" for TLS.

    `headers` are as in OTEL_EXPORTER_OTLP_HEADERS; `certificate` is whom to trust, the system's authorities when None.
    Raises ConfigurationInvalid for an address that is none.
    """
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigurationInvalid([f"OTEL_EXPORTER_OTLP_ENDPOINT: write it as http://host:port, not {endpoint!r}"])
    address = f"{url.hostname}:{url.port or 4317}"
    if url.scheme == "https":
        roots = await asyncio.to_thread(certificate.read_bytes) if certificate else None
        channel = aio.secure_channel(address, grpc.ssl_channel_credentials(roots))
    else:
        channel = aio.insecure_channel(address)
    async with channel:
        collector = OtlpCollector(channel, tuple(parse_env_headers(headers, liberal=True).items()), meters)
        async with in_background(collector.work(), on_failure=on_failure):
            yield collector
        await collector.send_the_rest()
