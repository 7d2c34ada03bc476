"""How the edge ends: what it has begun is finished, and nothing new begins."""

import asyncio
import stat
import time

import httpx
import pytest
import pytest_asyncio

from forge_cli.draining import drain_edge
from tests.wire import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, frame, http2, request_headers

pytestmark = pytest.mark.asyncio(loop_scope="session")

NO_ERROR = bytes(4)
EVENTS = "/v1/renders/a-render/events?after_seq=0"


@pytest_asyncio.fixture(loop_scope="session")
async def ending_edge(other_addresses, tmp_path, start_edge):
    """An edge of its own, to be drained."""
    async with start_edge(tmp_path, other_addresses) as edge:
        await edge.until_healthz(200)
        yield edge


def draining(edge, patience_seconds=30.0):
    """The draining of an edge, under way, and what it says to people."""
    said = []
    thread = asyncio.to_thread(drain_edge, edge.directory, patience_seconds=patience_seconds, say=said.append)
    return asyncio.create_task(thread), said


async def until(holds):
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.02)


async def test_what_is_being_served_is_finished_while_new_connections_are_refused(ending_edge, keys, services):
    with services.held():
        async with ending_edge.http.stream("GET", EVENTS, headers=keys.header) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            ended, said = draining(ending_edge)
            await until(lambda: said)
            async with httpx.AsyncClient(base_url=ending_edge.http.base_url) as stranger:
                with pytest.raises(httpx.ConnectError):
                    await stranger.get("/v1/models", headers=keys.header)
            assert not ended.done()
            services.may_end.set()
            assert '"second"' in "".join([line async for line in lines])
    await ended
    assert said == ["1 call has 30 s to end"]


async def test_a_connection_that_was_kept_open_hears_that_this_is_the_end(ending_edge, keys):
    ended, said = draining(ending_edge)
    await ended
    assert said == []
    answer = await ending_edge.http.get("/healthz")
    assert (answer.status_code, answer.headers["connection"]) == (503, "close")
    with pytest.raises(httpx.ConnectError):
        await ending_edge.http.get("/healthz")


async def test_a_connection_of_http_2_is_told_to_go_while_its_streams_go_on(ending_edge, keys, services):
    address = ending_edge.http.base_url.netloc.decode()
    key = ("authorization", f"Bearer {keys.admin}")
    async with http2(address) as link:
        with services.held():
            await link.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, request_headers(EVENTS, address, key)))
            first = await link.until(DATA)
            assert first is not None
            assert b"first" in first.payload
            ended, said = draining(ending_edge)
            await until(lambda: said)
            await link.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, request_headers("/v1/models", address, key)))
            told = await link.until(GOAWAY)
            assert told is not None
            assert told.payload[4:8] == NO_ERROR
            assert not ended.done()
        last = await link.until(DATA)
        while last is not None and b"second" not in last.payload:
            last = await link.until(DATA)
        assert last is not None
    await ended


async def test_who_does_not_end_is_not_waited_for_for_ever(ending_edge, keys, services):
    with services.held():
        async with ending_edge.http.stream("GET", EVENTS, headers=keys.header) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            began = time.monotonic()
            await draining(ending_edge, patience_seconds=0.3)[0]
            assert 0.3 <= time.monotonic() - began < 5


async def test_an_edge_that_is_gone_has_nothing_to_finish(ending_edge, tmp_path):
    ending_edge.process.terminate()
    await ending_edge.process.wait()
    await draining(ending_edge)[0]
    drain_edge(tmp_path / "never-used", patience_seconds=30)


async def test_only_who_may_read_the_configuration_may_drain(ending_edge):
    address = (ending_edge.directory / "admin-address").read_text()
    async with httpx.AsyncClient(base_url=f"http://{address}") as admin:
        for path in ("/healthcheck/fail", "/drain_listeners", "/drain_listeners?graceful", "/drain_listeners?token="):
            assert (await admin.post(path)).status_code == 403
    await ending_edge.until_healthz(200)
    for name in ("drain-token", "envoy.yaml"):
        assert stat.S_IMODE((ending_edge.directory / name).stat().st_mode) == 0o600
