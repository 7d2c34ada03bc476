"""A real Envoy with the real accounts and web services, and fakes of the others that remember what reached them."""

import asyncio
import hashlib
import importlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from forge.billing.v1 import billing_estimate_service_pb2
from forge.catalog.v1 import catalog_service_pb2
from forge.scheduler.v1 import (
    probe_service_pb2,
    render_pb2,
    render_service_pb2,
    runtime_service_pb2,
    upload_service_pb2,
    webhook_service_pb2,
)
from google.api import httpbody_pb2
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from forge_cli.edge import EdgeAddresses, envoy_command, write_edge_config
from forge_cli.edge_rules import EdgeRules
from forge_cli.stack import free_ports
from services.accounts.domain import new_secret
from services.chassis.errors import ForgeError, Kind
from services.chassis.secret_files import SecretFile
from services.chassis.server import Mount, serving
from services.chassis.wire import timestamp
from services.web.adapters.contract import contract_at
from services.web.adapters.signed_links import SignedLinks
from services.web.adapters.uvicorn_server import serving as serving_pages
from services.web.app import application
from services.web.config import WebSettings
from services.web.site import Site

CATALOG = [catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"]]
BILLING = [billing_estimate_service_pb2.DESCRIPTOR.services_by_name["BillingEstimateService"]]
SCHEDULER = [
    render_service_pb2.DESCRIPTOR.services_by_name["RenderService"],
    runtime_service_pb2.DESCRIPTOR.services_by_name["RuntimeService"],
    webhook_service_pb2.DESCRIPTOR.services_by_name["WebhookService"],
    probe_service_pb2.DESCRIPTOR.services_by_name["ProbeService"],
    upload_service_pb2.DESCRIPTOR.services_by_name["UploadService"],
]


@dataclass
class Services:
    """Fakes of catalog, billing-estimate and scheduler: they answer the least and remember who asked for what."""

    calls: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    video: bytes = field(default_factory=lambda: os.urandom(5_000_000))
    left: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    """Methods whose client went away before the answer."""
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    """A stream waits for this after its first message, and so does every call for a model or a webhook named "slow". Of
    videos only one waits that still grows: that of the render named "growing"; all other renders are finished."""

    cuts_off: bool = False
    """Whether the video that grows breaks off instead."""

    def render(self, render_id: str) -> render_pb2.Render:
        """A render as `GetRender` has it."""
        render = render_pb2.Render(id=render_id, slug="a-model", status="running")
        if render_id != "growing":
            render.status = "succeeded"
            render.ended_at.CopyFrom(timestamp(datetime(2026, 1, 1, tzinfo=UTC)) or render.ended_at)
            render.output.size_bytes = len(self.video)
            render.output.sha256 = hashlib.sha256(self.video).hexdigest()
            render.output.media_type = "video/mp4"
        return render

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing that can wait ends while the block runs."""
        self.may_end.clear()
        try:
            yield
        finally:
            self.may_end.set()

    def mount(self, service: Any) -> Mount:
        module = importlib.import_module(service.file.name.removesuffix(".proto").replace("/", ".") + "_pb2_grpc")
        return Mount(service, getattr(module, f"add_{service.name}Servicer_to_server"), _Fake(self, service))

    def last(self) -> tuple[str, dict[str, str], Any]:
        return self.calls[-1]


class _Fake:
    def __init__(self, services: Services, service: Any) -> None:
        self._services = services
        self._service = service

    def __getattr__(self, name: str) -> Any:
        method = self._service.methods_by_name[name]
        answer = GetMessageClass(method.output_type)

        def remember(request: Any, context: Any) -> None:
            self._services.calls.append((method.full_name, dict(context.invocation_metadata()), request))

        async def unary(request: Any, context: Any) -> Any:
            remember(request, context)
            if "slow" in (getattr(request, "slug", ""), getattr(request, "webhook_id", "")):
                try:
                    await self._services.may_end.wait()
                except asyncio.CancelledError:
                    self._services.left.put_nowait(method.name)
                    raise
            if getattr(request, "render_id", "") == "missing":
                raise ForgeError(
                    "no such render", kind=Kind.NOT_FOUND, reason="RENDER_NOT_FOUND", resource=("render", "missing")
                )
            if getattr(request, "render_id", "") == "too-much":
                raise ForgeError("wait", kind=Kind.EXHAUSTED, reason="TARGET_OVERLOADED", retry_after_seconds=2.5)
            return answer()

        async def render(request: Any, context: Any) -> Any:
            await unary(request, context)
            return self._services.render(request.render_id)

        async def events(request: Any, context: Any) -> AsyncIterator[Any]:
            remember(request, context)
            yield answer(seq=1, message="first")
            await self._services.may_end.wait()
            yield answer(seq=2, message="second")

        async def statuses(request: Any, context: Any) -> AsyncIterator[Any]:
            remember(request, context)
            yield answer(slug=request.slug, status="starting")
            await self._services.may_end.wait()
            yield answer(slug=request.slug, status="warm")

        async def video(request: Any, context: Any) -> AsyncIterator[Any]:
            remember(request, context)
            wanted = self._services.video[request.offset :][: request.length or None]
            try:
                for start in range(0, len(wanted), 65_536):
                    yield httpbody_pb2.HttpBody(content_type="video/mp4", data=wanted[start : start + 65_536])
                    if request.render_id == "growing":
                        await self._services.may_end.wait()
                        if self._services.cuts_off:
                            raise ForgeError("it ends here", kind=Kind.CONFLICT, reason="VIDEO_CUT_OFF")
            except asyncio.CancelledError:
                self._services.left.put_nowait(name)
                raise

        special = {"WatchRender": events, "WatchFamily": statuses, "GetVideo": video, "GetRender": render}
        return special.get(name, unary)


@dataclass(frozen=True)
class Edge:
    """An edge that runs, and what a test needs to talk to it."""

    directory: Path
    http: httpx.AsyncClient
    grpc: aio.Channel
    process: asyncio.subprocess.Process

    async def until_healthz(self, status: int | None = None) -> None:
        """Return when /healthz answers: with `status`, where that is given."""
        async with asyncio.timeout(20):
            while True:
                assert self.process.returncode is None, (self.directory / "envoy.log").read_text()
                with suppress(httpx.TransportError):
                    if status in (None, (await self.http.get("/healthz")).status_code):
                        return
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running_edge(
    directory: Path,
    addresses: EdgeAddresses,
    *,
    rules: EdgeRules | None = None,
    otlp_endpoint: str | None = None,
    tls_dir: Path | None = None,
    edit: Callable[[str], str] = lambda config: config,
) -> AsyncIterator[Edge]:
    config = write_edge_config(directory, addresses, rules=rules, otlp_endpoint=otlp_endpoint, tls_dir=tls_dir)
    config.write_text(edit(config.read_text()))
    with (directory / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*envoy_command(config), stdout=log, stderr=log)
    try:
        async with (
            httpx.AsyncClient(base_url=f"http://{addresses.listen}", timeout=20) as http,
            aio.insecure_channel(addresses.listen, options=[("grpc.max_receive_message_length", -1)]) as channel,
        ):
            edge = Edge(directory, http, channel, process)
            await edge.until_healthz()
            yield edge
    finally:
        with suppress(ProcessLookupError):  # the test may have ended it
            process.terminate()
        await process.wait()


@pytest.fixture(scope="session")
def elsewhere(addresses: EdgeAddresses) -> Callable[[], EdgeAddresses]:
    """Gives the same services, and each time another free address for a further edge."""
    return lambda: replace(addresses, listen=free_address())


@pytest.fixture(scope="session")
def start_edge() -> Callable[..., AbstractAsyncContextManager[Edge]]:
    """Runs a further edge while a block lasts, in a directory and with addresses of its own."""
    return running_edge


_GIVEN = set[int]()
"""Ports whose service may not listen yet."""


def free_address() -> str:
    """An address of this machine that nobody listens on, that none was given before, and that no port 0 becomes."""
    port = next(port for port in free_ports(1 + len(_GIVEN)) if port not in _GIVEN)
    _GIVEN.add(port)
    return f"127.0.0.1:{port}"


@pytest.fixture
def dead_address() -> str:
    """An address where nothing answers."""
    return free_address()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("forge-home")


@pytest.fixture(scope="session")
def accounts_address(home: Path) -> Iterator[str]:
    address = free_address()
    environment = os.environ | {"FORGE_HOME": str(home), "FORGE_ACCOUNTS_ADDRESS": address, "FORGE_PLAINTEXT": "true"}
    # One key asks for everything here, in whatever a second these tests take.
    environment |= {"FORGE_RATE_LIMIT_PER_SECOND": "10000", "FORGE_RATE_LIMIT_BURST": "100000"}
    subprocess.run([sys.executable, "-m", "services.accounts", "first-key"], env=environment, check=True)
    with (
        (home / "accounts.log").open("wb") as log,
        subprocess.Popen([sys.executable, "-m", "services.accounts"], env=environment, stderr=log) as process,
    ):
        try:
            yield address
        finally:
            process.terminate()


@dataclass(frozen=True)
class Keys:
    """Secrets that open everything, and some that must open nothing."""

    admin: str
    reader: str
    wrong: str
    revoked: str
    broken: str

    @property
    def header(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.admin}"}

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.admin}"),)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def services() -> Services:
    services = Services()
    services.may_end.set()
    return services


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def addresses(
    services: Services, accounts_address: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EdgeAddresses]:
    """Every service running, and a free address for an edge."""
    async with AsyncExitStack() as stack:
        ports = [
            await stack.enter_async_context(
                serving("127.0.0.1:0", [services.mount(service) for service in group], grace_seconds=0)
            )
            for group in (CATALOG, BILLING, SCHEDULER)
        ]
        catalog, billing_estimate, scheduler = (f"127.0.0.1:{port}" for port in ports)
        found = EdgeAddresses(
            listen=free_address(),
            catalog=catalog,
            billing_estimate=billing_estimate,
            accounts=accounts_address,
            scheduler=scheduler,
            web=free_address(),
        )
        settings = WebSettings(
            home=tmp_path_factory.mktemp("web-home"),
            catalog_address=catalog,
            billing_estimate_address=billing_estimate,
            accounts_address=accounts_address,
            scheduler_address=scheduler,
        )
        contract = await stack.enter_async_context(contract_at(settings))
        links = SignedLinks.with_secret_in(SecretFile(settings.link_secret_path))
        pages = application(Site(contract, settings, links))
        await stack.enter_async_context(serving_pages(found.web, pages, grace_seconds=0))
        yield found


@pytest.fixture
def other_addresses(addresses: EdgeAddresses) -> EdgeAddresses:
    """The same services, and a free address for a further edge."""
    return replace(addresses, listen=free_address())


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def edge(addresses: EdgeAddresses, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    """An edge with every service behind it."""
    async with running_edge(tmp_path_factory.mktemp("edge"), addresses) as running:
        await running.until_healthz(200)
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def keys(edge: Edge, home: Path) -> Keys:
    admin = (home / "api-key").read_text().strip()
    header = {"authorization": f"Bearer {admin}"}
    reader, revoked = [
        (await edge.http.post("/v1/api-keys", json={"name": "test", "scopes": ["read"]}, headers=header)).json()
        for _ in range(2)
    ]
    await edge.http.delete(f"/v1/api-keys/{revoked['api_key']['id']}", headers=header)
    return Keys(
        admin=admin,
        reader=reader["secret"],
        wrong=new_secret("local"),
        revoked=revoked["secret"],
        broken=admin[:-1] + ("0" if admin[-1] != "0" else "1"),
    )
