"""Clients who do not read what they asked for: how much waits for them, and who does not."""

import asyncio
import json
from contextlib import AsyncExitStack

import httpx
import pytest
import pytest_asyncio

from bench.crowd import never_reading

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIDEO = "/v1/renders/a-render/video"
STALLED = 30
MOST_BYTES_EACH = 512 * 1024


@pytest_asyncio.fixture(loop_scope="session")
async def own_edge(other_addresses, tmp_path, start_edge):
    async with start_edge(tmp_path, other_addresses) as edge:
        await edge.until_healthz(200)
        yield edge


async def stats(edge):
    """The statistics of the edge that are numbers."""
    admin = (edge.directory / "admin-address").read_text().strip()
    async with httpx.AsyncClient(trust_env=False) as client:
        lines = (await client.get(f"http://{admin}/stats")).text.splitlines()
    found = (line.rpartition(": ")[::2] for line in lines)
    return {name: int(value) for name, value in found if value.isdigit()}


async def test_what_is_not_read_waits_in_the_service_and_nobody_waits_for_it(own_edge, keys, services):
    assert len(services.video) > 4 * MOST_BYTES_EACH
    address = own_edge.http.base_url.netloc.decode()
    taken = (await stats(own_edge))["cluster.web.upstream_cx_rx_bytes_total"]
    with never_reading(address, keys.admin, [VIDEO] * STALLED):
        async with asyncio.timeout(20):
            while (await stats(own_edge))["cluster.web.upstream_flow_control_paused_reading_total"] < STALLED:
                await asyncio.sleep(0.05)
        taken = (await stats(own_edge))["cluster.web.upstream_cx_rx_bytes_total"] - taken
        assert taken < STALLED * MOST_BYTES_EACH
        assert (await own_edge.http.get(VIDEO, headers=keys.header)).content == services.video
        await others_are_served(own_edge, keys)


async def test_little_waits_in_the_edge_for_those_who_do_not_read_on_connections_of_http_1(own_edge, keys, services):
    async with AsyncExitStack() as stack:
        opened = [own_edge.http.stream("GET", VIDEO, headers=keys.header) for _ in range(STALLED)]
        await asyncio.gather(*(stack.enter_async_context(stream) for stream in opened))
        taken, now = -1, 0
        while taken != now:
            await asyncio.sleep(0.3)
            taken, now = now, (await stats(own_edge))["cluster.web.upstream_cx_rx_bytes_total"]
        waiting = (await stats(own_edge))["http.edge.downstream_cx_tx_bytes_buffered"]
        assert waiting < STALLED * MOST_BYTES_EACH / 2
        await others_are_served(own_edge, keys)


async def others_are_served(edge, keys):
    answer = await edge.http.get("/v1/renders/a-render/events", headers=keys.header)
    assert [json.loads(line)["seq"] for line in answer.text.splitlines() if line] == [1, 2]


async def test_all_streams_to_a_service_can_stall_without_using_up_its_connection(own_edge):
    config = json.loads((own_edge.directory / "envoy.yaml").read_text())
    checked = 0
    for cluster in config["static_resources"]["clusters"]:
        for protocol in cluster.get("typed_extension_protocol_options", {}).values():
            limits = protocol["explicit_http_config"]["http2_protocol_options"]
            streams = limits["max_concurrent_streams"] * limits["initial_stream_window_size"]
            assert limits["initial_connection_window_size"] >= streams, cluster["name"]
            checked += 1
    assert checked == 4
