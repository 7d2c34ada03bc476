"""Connections of HTTP/2 that ask for more than they should: each is ended, and nobody else notices."""

import asyncio

import psutil
import pytest
import pytest_asyncio

from tests.wire import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    header_block,
    http2,
    request_headers,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

CANCEL = (8).to_bytes(4, "big")
MAX_STREAMS = 1_024
MIB = 1024 * 1024


@pytest.fixture
def address(edge):
    """Where the edge listens."""
    return edge.http.base_url.netloc.decode()


@pytest_asyncio.fixture(loop_scope="session")
async def link(edge, address, keys):
    """A connection whose other side is up to no good. Afterwards the edge still runs and others are served."""
    async with http2(address) as opened:
        yield opened
    assert edge.process.returncode is None
    assert (await edge.http.get("/v1/models", headers=keys.header)).status_code == 200


def opening(address, keys, path="/v1/models", method="GET"):
    """The header block of a good request."""
    return request_headers(path, address, ("authorization", f"Bearer {keys.admin}"), method=method)


async def test_what_these_tests_send_is_http_2(link, address, keys):
    await link.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, opening(address, keys)))
    assert (await link.until(HEADERS)).status == 200


async def test_requests_opened_and_canceled_over_and_over_end_the_connection(link, address, keys):
    block = opening(address, keys)
    for stream in range(1, 4_001, 2):
        ask = frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
        if not await link.send(ask + frame(RST_STREAM, 0, stream, CANCEL)):
            break
    assert await link.is_refused()


async def test_headers_that_never_end_end_the_connection_before_they_fill_any_memory(edge, link, address):
    before = psutil.Process(edge.process.pid).memory_info().rss
    await link.send(frame(HEADERS, 0, 1, request_headers("/", address)))
    more = b"".join(frame(CONTINUATION, 0, 1, header_block([(f"h-{n}", "x" * 4_000)])) for n in range(100))
    for _ in range(200):
        if not await link.send(more):
            break
    assert await link.is_refused()
    assert psutil.Process(edge.process.pid).memory_info().rss - before < 20 * MIB


async def test_headers_that_never_end_and_say_nothing_end_the_connection(link, address):
    await link.send(frame(HEADERS, 0, 1, request_headers("/", address)))
    for _ in range(200):
        if not await link.send(frame(CONTINUATION, 0, 1) * 100):
            break
    assert await link.is_refused()


FLOODS = [
    frame(PING, 0, 0, bytes(8)),
    frame(SETTINGS, 0, 0),
    frame(PRIORITY, 0, 1, bytes(4) + b"\1"),
    frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
]


async def test_a_flood_of_frames_that_want_nothing_ends_the_connection(edge, address, keys):
    async def is_refused(drop):
        async with http2(address) as link:
            for _ in range(200):
                if not await link.send(drop * 1_000):
                    break
            return await link.is_refused()

    assert all(await asyncio.gather(*map(is_refused, FLOODS)))
    assert (await edge.http.get("/v1/models", headers=keys.header)).status_code == 200


async def test_a_body_of_empty_frames_ends_the_connection(link, address, keys):
    await link.send(frame(HEADERS, END_HEADERS, 1, opening(address, keys, "/v1/renders", "POST")))
    for _ in range(50):
        if not await link.send(frame(DATA, 0, 1) * 100):
            break
    assert await link.is_refused()


@pytest.mark.parametrize(("streams", "is_refused"), [(MAX_STREAMS, False), (MAX_STREAMS + 1, True)])
async def test_one_stream_more_than_was_allowed_ends_the_connection(streams, is_refused, link, address):
    block = request_headers(
        "/grpc.health.v1.Health/Check", address, ("content-type", "application/grpc"), method="POST"
    )
    await link.send(b"".join(frame(HEADERS, END_HEADERS, stream, block) for stream in range(1, 2 * streams, 2)))
    await link.send(frame(PING, 0, 0, bytes(8)))
    answer = await link.until(PING, GOAWAY)
    assert (answer is None or answer.kind == GOAWAY) is is_refused


PATH = (":path", "/v1/models")
NO_HEADERS = [
    [PATH, ("x-b\r\nx-c", "1")],
    [PATH, ("X-Upper", "1")],
    [PATH, ("x-b", "1\r\nx-forge-account: other")],
    [PATH, ("connection", "close")],
    [PATH, ("transfer-encoding", "chunked")],
    [PATH, (":path", "/v1/account")],
    [("x-a", "1"), PATH],
    [],
    [(":method", "G T"), PATH],
    [PATH, (":protocol", "websocket")],
    [(":path", "")],
    [PATH, ("content-length", "-1")],
]


async def test_headers_that_http_2_does_not_have_are_refused(address, keys, services):
    async def answer(headers):
        good = [(":method", "GET"), (":scheme", "http"), (":authority", address)]
        key = ("authorization", f"Bearer {keys.admin}")
        async with http2(address) as link:
            await link.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, header_block([*good, *headers, key])))
            return await link.until(HEADERS, RST_STREAM, GOAWAY)

    calls = len(services.calls)
    for headers, found in zip(NO_HEADERS, await asyncio.gather(*map(answer, NO_HEADERS)), strict=True):
        assert found is None or found.kind in (RST_STREAM, GOAWAY) or 400 <= found.status < 500, headers
    assert len(services.calls) == calls


NO_FRAMES = [
    frame(HEADERS, END_HEADERS, 2, b"\x82"),
    frame(HEADERS, END_HEADERS, 0, b"\x82"),
    frame(DATA, 0, 5, b"x"),
    frame(SETTINGS, 0, 0, b"\0"),
    frame(SETTINGS, ACK, 0, bytes(6)),
    frame(PING, 0, 0, b"x"),
    frame(WINDOW_UPDATE, 0, 0, bytes(4)),
    frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2,
    frame(CONTINUATION, END_HEADERS, 1, b"\x82"),
    frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff" * 50),
    frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f" + b"\xff" * 20),
    b"\xff\xff\xff" + bytes(6),
]


async def test_frames_that_break_the_rules_end_their_connection(edge, address, keys):
    async def is_refused(noise):
        async with http2(address) as link:
            await link.send(noise)
            return await link.is_refused()

    assert all(await asyncio.gather(*map(is_refused, NO_FRAMES)))
    assert (await edge.http.get("/v1/models", headers=keys.header)).status_code == 200


async def test_a_stream_that_never_gives_its_body_holds_nobody_up(edge, link, address, keys):
    for stream in range(1, 100, 2):
        await link.send(frame(HEADERS, END_HEADERS, stream, opening(address, keys, "/v1/renders", "POST")))
    answers = await asyncio.gather(*(edge.http.get("/v1/models", headers=keys.header) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
