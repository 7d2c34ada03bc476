"""More than the edge can hold, and clients who take their time: some are turned away, the edge stays."""

import asyncio
import json
import time
from contextlib import AsyncExitStack, suppress

import httpx
import psutil
import pytest
import pytest_asyncio

from forge_cli.edge_rules import EdgeRules
from tests.wire import answered, connection, exchange

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1024 * 1024
MEMORY_MIB = 100
MAX_CONNECTIONS = 30
POST = "POST /v1/renders HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n"


@pytest_asyncio.fixture(loop_scope="session")
async def small_edge(other_addresses, tmp_path, start_edge):
    """An edge that holds little."""
    rules = EdgeRules(memory_mib=MEMORY_MIB, max_connections=MAX_CONNECTIONS)
    async with start_edge(tmp_path, other_addresses, rules=rules) as edge:
        await edge.until_healthz(200)
        yield edge


@pytest_asyncio.fixture(loop_scope="session")
async def hasty_edge(other_addresses, tmp_path, start_edge):
    """An edge that waits for a request for half a second only."""

    def hasten(config):
        for name, seconds in (("request_headers_timeout", 10), ("request_timeout", 300)):
            assert f'"{name}": "{seconds}s"' in config
            config = config.replace(f'"{name}": "{seconds}s"', f'"{name}": "0.5s"')
        return config

    async with start_edge(tmp_path, other_addresses, edit=hasten) as edge:
        await edge.until_healthz(200)
        yield edge


def address_of(edge):
    return edge.http.base_url.netloc.decode()


async def test_bodies_that_never_end_fill_the_edge_to_its_limit_and_no_further(small_edge, keys):
    size = 15 * MIB
    head = POST.format(keys.admin, size + 1).encode()
    async with AsyncExitStack() as stack:
        for _ in range(12):
            _, writer = await stack.enter_async_context(connection(address_of(small_edge)))
            writer.write(head + bytes(size))
            with suppress(ConnectionError):  # turned away already
                await writer.drain()
        async with asyncio.timeout(10):
            while (refused := await small_edge.http.get("/v1/models", headers=keys.header)).status_code != 503:
                await asyncio.sleep(0.02)
        assert refused.json()["message"] == "the edge has all it can hold; try again"
        assert [detail["@type"].rpartition(".")[2] for detail in refused.json()["details"]] == [
            "ErrorInfo",
            "RetryInfo",
        ]
        assert (await small_edge.http.get("/healthz")).status_code == 503
        assert psutil.Process(small_edge.process.pid).memory_info().rss < (2 * MEMORY_MIB + 100) * MIB
    async with asyncio.timeout(10):
        await small_edge.until_healthz(200)
    assert (await small_edge.http.get("/v1/models", headers=keys.header)).status_code == 200


async def test_a_connection_too_many_is_refused_and_the_others_stay(small_edge, keys):
    async with AsyncExitStack() as stack:
        held = [await stack.enter_async_context(connection(address_of(small_edge))) for _ in range(MAX_CONNECTIONS)]
        answer = await exchange(address_of(small_edge), b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.is_closed
        reader, writer = held[0]
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await answered(reader)).status == 200
    async with asyncio.timeout(10), httpx.AsyncClient(base_url=small_edge.http.base_url) as client:
        while True:
            try:
                assert (await client.get("/healthz")).status_code == 200
                return
            except httpx.TransportError:
                await asyncio.sleep(0.02)


async def test_there_are_files_for_every_connection(edge):
    config = json.loads((edge.directory / "envoy.yaml").read_text())
    most = int(config["overload_manager"]["resource_monitors"][0]["typed_config"]["max_active_downstream_connections"])
    assert 2 * most <= 8_192  # each may need one towards a service; `forge up` gives its programs so many


@pytest.mark.parametrize(
    "part",
    [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ",
        b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 10\r\n\r\nkey",
    ],
)
async def test_who_takes_his_time_with_a_request_is_not_waited_for(part, hasty_edge):
    began = time.monotonic()
    answer = await exchange(address_of(hasty_edge), part)
    assert (answer.status, answer.is_closed) == (408, True)
    assert json.loads(answer.body)["details"][0]["reason"] == "MALFORMED_REQUEST"
    assert 0.4 < time.monotonic() - began < 5


async def test_a_body_that_trickles_in_is_not_waited_for_however_lively_it_is(hasty_edge, keys):
    async with connection(address_of(hasty_edge)) as (reader, writer):
        writer.write(POST.format(keys.admin, 1_000_000).encode())
        answer = asyncio.create_task(answered(reader))
        while not answer.done():
            writer.write(b"x")
            await asyncio.wait([answer], timeout=0.05)
        assert (await answer).status == 408


async def test_waiting_for_an_answer_is_not_taking_time_with_the_request(hasty_edge, keys, services):
    with services.held():
        waiting = asyncio.create_task(hasty_edge.http.post("/v1/inference/slow", json={}, headers=keys.header))
        ended, _ = await asyncio.wait([waiting], timeout=1.0)
        assert not ended
    assert (await waiting).status_code == 200
