"""How either client reaches the platform: address, key, limits, and which calls are tried again."""

from __future__ import annotations  # grpc classes are generic in their stubs only

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import urlsplit

import grpc
from forge.accounts.v1 import account_service_pb2, audit_service_pb2
from forge.accounts.v1.account_service_pb2_grpc import AccountServiceStub
from forge.accounts.v1.audit_service_pb2_grpc import AuditServiceStub
from forge.billing.v1 import billing_estimate_service_pb2
from forge.billing.v1.billing_estimate_service_pb2_grpc import BillingEstimateServiceStub
from forge.catalog.v1 import catalog_service_pb2
from forge.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from forge.scheduler.v1 import (
    probe_service_pb2,
    render_service_pb2,
    runtime_service_pb2,
    upload_service_pb2,
    webhook_service_pb2,
)
from forge.scheduler.v1.probe_service_pb2_grpc import ProbeServiceStub
from forge.scheduler.v1.render_service_pb2_grpc import RenderServiceStub
from forge.scheduler.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from forge.scheduler.v1.upload_service_pb2_grpc import UploadServiceStub
from forge.scheduler.v1.webhook_service_pb2_grpc import WebhookServiceStub
from google.api import annotations_pb2
from grpc import aio

CALL_SECONDS = 30.0
"""How long a call may take, unless it is said."""
PATIENCE_SECONDS = 60.0
"""How long a broken watch is taken up again without anything new."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
_MOST_MESSAGE_BYTES = 32 * 1024 * 1024
_FILES = (
    account_service_pb2,
    audit_service_pb2,
    billing_estimate_service_pb2,
    catalog_service_pb2,
    probe_service_pb2,
    render_service_pb2,
    runtime_service_pb2,
    upload_service_pb2,
    webhook_service_pb2,
)
_AGAIN = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


class Services:
    """The services over one channel. Their types are those of asyncio; `ask` and `stream` call their methods."""

    def __init__(self, channel: grpc.Channel | aio.Channel) -> None:
        stubs_channel = cast("aio.Channel", channel)  # stubs are made over either kind
        self.accounts = AccountServiceStub(stubs_channel)
        self.audit = AuditServiceStub(stubs_channel)
        self.catalog = CatalogServiceStub(stubs_channel)
        self.estimates = BillingEstimateServiceStub(stubs_channel)
        self.probes = ProbeServiceStub(stubs_channel)
        self.renders = RenderServiceStub(stubs_channel)
        self.runtimes = RuntimeServiceStub(stubs_channel)
        self.uploads = UploadServiceStub(stubs_channel)
        self.webhooks = WebhookServiceStub(stubs_channel)


@dataclass(frozen=True)
class Address:
    """Where the platform is: "http://host:port", "https://host", or "host:port" in plain text."""

    api_base: str
    root_certificates: bytes | None = field(default=None, repr=False)
    """Certificates to trust instead of those that gRPC knows, in PEM."""

    @property
    def target(self) -> str:
        """What a channel is opened to."""
        parts = self._parts
        return parts.netloc if parts.port else f"{parts.netloc}:{443 if self.is_secure else 80}"

    @property
    def is_secure(self) -> bool:
        """Whether it speaks TLS."""
        return self._parts.scheme == "https"

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        """For a secure channel."""
        return grpc.ssl_channel_credentials(self.root_certificates)

    @property
    def options(self) -> Sequence[tuple[str, Any]]:
        """Options of a channel."""
        return (
            ("grpc.max_receive_message_length", _MOST_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MOST_MESSAGE_BYTES),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.enable_http_proxy", 0 if self._is_loopback else 1),
            ("grpc.service_config", json.dumps({"methodConfig": [{"name": reading_methods(), "retryPolicy": _AGAIN}]})),
        )

    @property
    def _parts(self) -> Any:
        base = self.api_base if "://" in self.api_base else f"http://{self.api_base}"
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{self.api_base!r} is no address of a platform; one is http://127.0.0.1:8080")
        return parts

    @property
    def _is_loopback(self) -> bool:
        host = self._parts.hostname
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def authorization(key: str) -> tuple[tuple[str, str], ...]:
    """The metadata that a key is sent in."""
    return (("authorization", f"Bearer {key}"),) if key else ()


def reading_methods() -> list[dict[str, str]]:
    """The methods that change nothing: those that REST has under GET."""
    http: Any = annotations_pb2.http
    return [
        {"service": service.full_name, "method": method.name}
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if method.GetOptions().Extensions[http].WhichOneof("pattern") == "get"
    ]


def pause_seconds(breaks: int) -> float:
    """How long to wait before a watch is taken up again that broke so often without anything new."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(breaks, 10))
