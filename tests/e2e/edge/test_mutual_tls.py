"""The edge speaks with programs that prove to be the service it looks for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from forge_cli.certificates import EDGE, WORKER, service, write_certificates
from forge_cli.edge import EdgeAddresses
from services.chassis.server import serving
from services.chassis.trust import Certificates, Trust
from services.web.adapters.uvicorn_server import serving as serving_pages

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERVICES = ("catalog", "billing-estimate", "accounts", "scheduler")


@pytest.fixture
def tls_dir(tmp_path: Path) -> Path:
    write_certificates(tmp_path / "tls", [EDGE, WORKER, *map(service, (*SERVICES, "web"))])
    return tmp_path / "tls"


@asynccontextmanager
async def everybody(addresses: EdgeAddresses, tls_dir: Path, **shows: str) -> AsyncIterator[EdgeAddresses]:
    """Every service at an address of its own. Each shows its certificate, or the one that `shows` names for it."""

    def trust(name: str) -> Trust:
        return Trust(Certificates.in_folder(tls_dir, shows.get(name.replace("-", "_"), name)))

    async with AsyncExitStack() as stack:
        found = {
            name.replace("-", "_"): await stack.enter_async_context(
                serving("127.0.0.1:0", [], grace_seconds=0, trust=trust(name))
            )
            for name in SERVICES
        }
        pages = Starlette(routes=[Route("/healthz", lambda _: PlainTextResponse("ok"))])
        await stack.enter_async_context(serving_pages(addresses.web, pages, grace_seconds=0, trust=trust("web")))
        by_name = {name: f"127.0.0.1:{port}" for name, port in found.items()}
        yield EdgeAddresses(listen=addresses.listen, web=addresses.web, **by_name)


@pytest.fixture
def unused(other_addresses: EdgeAddresses, dead_address: str) -> EdgeAddresses:
    return EdgeAddresses(
        listen=other_addresses.listen, web=dead_address, catalog="", billing_estimate="", accounts="", scheduler=""
    )


async def test_services_that_show_their_certificates_are_healthy(start_edge, unused, tls_dir, tmp_path):
    async with everybody(unused, tls_dir) as addresses, start_edge(tmp_path, addresses, tls_dir=tls_dir) as edge:
        await edge.until_healthz(200)


@pytest.mark.parametrize(
    "shows", [{"scheduler": "catalog"}, {"web": "catalog"}, {"accounts": "inference-worker"}, {"catalog": "edge"}]
)
async def test_a_program_that_shows_another_ones_certificate_is_not_spoken_to(
    start_edge, unused, tls_dir, tmp_path, shows
):
    async with (
        everybody(unused, tls_dir, **shows) as addresses,
        start_edge(tmp_path, addresses, tls_dir=tls_dir) as edge,
    ):
        await edge.until_healthz(503)
        assert await healthy(edge) == {*SERVICES, "web"} - {name.replace("_", "-") for name in shows}


async def healthy(edge: Any) -> set[str]:
    """The services that the edge has found healthy, once it has made up its mind about all."""
    address = (edge.directory / "admin-address").read_text().strip()
    async with asyncio.timeout(20), httpx.AsyncClient(base_url=f"http://{address}") as admin:
        while True:
            clusters = (await admin.get("/clusters?format=json")).json()["cluster_statuses"]
            states = {found["name"]: found["host_statuses"][0]["health_status"] for found in clusters}
            if sum(not state.get("failed_active_health_check") for state in states.values()) == len(states) - 1:
                return {name for name, state in states.items() if not state.get("failed_active_health_check")}
            await asyncio.sleep(0.05)
