"""A connection to the API over gRPC: address, key, deadlines, and failures in words."""

from __future__ import annotations  # grpc classes are generic in their stubs only

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar, cast
from urllib.parse import urlsplit

import grpc
from forge.accounts.v1.account_service_pb2_grpc import AccountServiceStub
from forge.accounts.v1.audit_service_pb2_grpc import AuditServiceStub
from forge.billing.v1.billing_estimate_service_pb2_grpc import BillingEstimateServiceStub
from forge.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from forge.scheduler.v1.probe_service_pb2_grpc import ProbeServiceStub
from forge.scheduler.v1.render_service_pb2_grpc import RenderServiceStub
from forge.scheduler.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from forge.scheduler.v1.upload_service_pb2_grpc import UploadServiceStub
from forge.scheduler.v1.webhook_service_pb2_grpc import WebhookServiceStub
from grpc import aio

from forge_cli.patience import Patience
from forge_cli.settings import Settings, is_loopback
from forge_cli.statuses import from_call, is_refused, with_origin_of_key

CALL_SECONDS = 30.0
_RETRY_SECONDS = 15.0
_MAX_MESSAGE_BYTES = 32 * 1024 * 1024

Request = TypeVar("Request")
Response = TypeVar("Response")


class Client:
    """The services of the API, over one channel."""

    def __init__(self, channel: aio.Channel, settings: Settings) -> None:
        self.api_base = settings.api_base
        self.catalog = CatalogServiceStub(channel)
        self.estimates = BillingEstimateServiceStub(channel)
        self.accounts = AccountServiceStub(channel)
        self.audit = AuditServiceStub(channel)
        self.renders = RenderServiceStub(channel)
        self.probes = ProbeServiceStub(channel)
        self.runtimes = RuntimeServiceStub(channel)
        self.uploads = UploadServiceStub(channel)
        self.webhooks = WebhookServiceStub(channel)
        self._was_reached = False
        self._key_origin = settings.key_origin
        self._metadata = (("authorization", f"Bearer {settings.api_key}"),) if settings.api_key else ()

    async def call(
        self,
        method: aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        timeout_seconds: float | None = CALL_SECONDS,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> Response:
        """One answer, or RequestFailed.

        A platform that cannot answer now, as while a part of it restarts, is asked again for `retry_seconds`: give 0
        for a call that must not happen twice. One where nobody has ever listened is given up at once.
        """
        patience = Patience(seconds=retry_seconds)
        while True:
            try:
                answer = await method(request, timeout=timeout_seconds, metadata=self._metadata)
            except aio.AioRpcError as error:
                trouble = from_call(error, self.api_base)
                self._was_reached |= not is_refused(error)
                if not self._was_reached or error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise with_origin_of_key(trouble, self._key_origin) from error
                await patience.bear(trouble)
            else:
                self._was_reached = True
                return answer

    async def stream(
        self,
        method: aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        *,
        silence_seconds: float,
    ) -> AsyncGenerator[Response, None]:
        """The answers of a stream, or AioRpcError; TimeoutError when none came for `silence_seconds`."""
        call = method(request, metadata=self._metadata)
        try:
            while True:
                async with asyncio.timeout(silence_seconds):
                    response = await call.read()
                self._was_reached = True
                if response is aio.EOF:
                    return
                yield cast("Response", response)  # EOF is excluded above
        finally:
            call.cancel()


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Client]:
    """A client for as long as the block runs. TLS for https://, plain HTTP/2 for http://."""
    parts = urlsplit(settings.api_base)
    secure = parts.scheme == "https"
    address = parts.netloc if parts.port else f"{parts.netloc}:{443 if secure else 80}"
    options = (
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        # An edge that restarts is back soon; by default the first pause is a second and later ones are minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.enable_http_proxy", 0 if is_loopback(settings.api_base) else 1),
    )
    if secure:
        channel = aio.secure_channel(address, grpc.ssl_channel_credentials(), options=options)
    else:
        channel = aio.insecure_channel(address, options=options)
    async with channel:
        yield Client(channel, settings)


def run_with(settings: Settings, work: Callable[[Client], Awaitable[Response]]) -> Response:
    """Run `work` with a client, from a command that is not asynchronous."""

    async def main() -> Response:
        async with connected(settings) as client:
            return await work(client)

    return asyncio.run(main())
