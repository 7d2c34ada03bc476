"""Which names the edge goes by, and whom it believes where a request comes from."""

import asyncio
import json

import pytest
import pytest_asyncio

from forge_cli.edge_rules import EdgeRules
from tests.wire import END_HEADERS, END_STREAM, HEADERS, exchange, frame, http2, request_headers

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODELS = "/v1/models"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def proxied_edge(elsewhere, tmp_path_factory, start_edge):
    """An edge with names of its own, behind one proxy."""
    rules = EdgeRules(hosts=("forge.example", "*.forge.example"), trusted_proxies=1)
    async with start_edge(tmp_path_factory.mktemp("hosts"), elsewhere(), rules=rules) as edge:
        await edge.until_healthz(200)
        yield edge


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "a.localhost", "127.0.0.1", "[::1]:8080", "10.1.2.3"])
async def test_this_machine_and_every_address_are_served(host, edge, keys):
    assert (await edge.http.get(MODELS, headers=keys.header | {"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:8080",
        "xlocalhost",
        "localhost,evil.example",
        "127.0.0.1@evil.example",
        "1.2.3.4.5",
    ],
)
@pytest.mark.parametrize("path", ["/", MODELS, "/static/forge.css", "/sign-in", "/v1/renders/a-render/video"])
async def test_a_name_that_only_leads_here_is_nobody(host, path, edge, keys, services):
    calls = len(services.calls)
    for headers in (keys.header, {}):
        answer = await edge.http.get(path, headers=headers | {"host": host})
        assert answer.status_code == 421
        assert answer.json()["details"][0]["reason"] == "HOST_NOT_SERVED"
        assert "FORGE_ALLOWED_HOSTS" in answer.json()["message"]
    assert len(services.calls) == calls


async def test_a_stranger_hears_so_before_his_body_is_read(edge):
    head = b"POST /v1/renders HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000000\r\n\r\n{"
    assert (await exchange(edge.http.base_url.netloc.decode(), head)).status == 421


async def test_two_hosts_are_none(edge, keys):
    hosts = "Host: localhost\r\nHost: evil.example\r\n"
    head = f"GET /v1/models HTTP/1.1\r\n{hosts}Authorization: Bearer {keys.admin}\r\n\r\n"
    assert (await exchange(edge.http.base_url.netloc.decode(), head.encode())).status == 421


async def test_a_host_beside_the_authority_of_http_2_changes_nothing(edge, keys):
    address = edge.http.base_url.netloc.decode()
    key = ("authorization", f"Bearer {keys.admin}")
    for authority, host, allowed in ((address, "evil.example", True), ("evil.example", address, False)):
        async with http2(address) as link:
            block = request_headers(MODELS, authority, ("host", host), key)
            await link.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
            answer = await link.until(HEADERS)
            assert answer is None or (answer.status == 200) is allowed


async def test_health_can_be_asked_under_any_name(edge):
    assert (await edge.http.get("/healthz", headers={"host": "balancer.internal"})).status_code == 200


async def test_an_installation_goes_by_the_names_it_was_given(proxied_edge, keys):
    for host, status in (
        ("forge.example", 200),
        ("Forge.Example:443", 200),
        ("eu.forge.example", 200),
        ("127.0.0.1", 200),
        ("localhost", 421),
        ("xforge.example", 421),
    ):
        answer = await proxied_edge.http.get(MODELS, headers=keys.header | {"host": host})
        assert answer.status_code == status, host


async def client_in_log(edge, request_id):
    """The address that the access log has for a request."""
    async with asyncio.timeout(15):
        while request_id not in (log := (edge.directory / "envoy.log").read_text()):
            await asyncio.sleep(0.1)
    return next(json.loads(line)["client"] for line in log.splitlines() if request_id in line)


async def test_a_client_cannot_say_where_it_comes_from(edge, keys, services):
    said = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https", "x-request-id": "from-nowhere"}
    await edge.http.get(MODELS, headers=keys.header | said | {"x-envoy-external-address": "203.0.113.7"})
    assert await client_in_log(edge, "from-nowhere") == "127.0.0.1"
    assert services.last()[1]["x-forwarded-proto"] == "http"


async def test_what_the_last_proxy_says_is_believed_and_nothing_before_it(proxied_edge, keys, services):
    said = {"x-forwarded-for": "198.51.100.1, 203.0.113.7", "x-forwarded-proto": "https", "x-request-id": "behind"}
    await proxied_edge.http.get(MODELS, headers=keys.header | said)
    assert await client_in_log(proxied_edge, "behind") == "203.0.113.7"
    assert services.last()[1]["x-forwarded-proto"] == "https"
