"""Requests on HTTP/1.1 that two programs could read in two ways, and other shapes that a proxy must not pass on."""

import json

import pytest

from tests.wire import exchange

pytestmark = pytest.mark.asyncio(loop_scope="session")

POST = b"POST /v1/renders HTTP/1.1\r\n"
GET = b"GET /v1/models HTTP/1.1\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.fixture
def address(edge):
    """Where the edge listens."""
    return edge.http.base_url.netloc.decode()


@pytest.fixture
def ask(edge, keys, address):
    """Sends a request line, headers and a body as they stand, with a key and a host that are good."""

    async def ask(line, rest=b"\r\n", host=None):
        head = f"Host: {host or address}\r\nAuthorization: Bearer {keys.admin}\r\n".encode()
        return await exchange(address, line + head + rest)

    return ask


REFUSED = {
    "a length and chunks": (POST, b"Content-Length: 6\r\n" + CHUNKED + b"\r\n0\r\n\r\nG"),
    "chunks twice": (POST, CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunks and identity": (POST, CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    "a coding that sounds like chunks": (POST, b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "gzip before chunks": (POST, b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "two lengths": (POST, b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "a length with a sign": (POST, b"Content-Length: +2\r\n\r\n{}"),
    "a negative length": (POST, b"Content-Length: -1\r\n\r\n{}"),
    "a length beyond every number": (POST, b"Content-Length: 99999999999999999999999\r\n\r\n{}"),
    "a negative chunk": (POST, CHUNKED + b"\r\n-1\r\n{}\r\n0\r\n\r\n"),
    "a chunk longer than it says": (POST, CHUNKED + b"\r\n1\r\n{}}}\r\n0\r\n\r\n"),
    "a line break within a chunk's extension": (POST, CHUNKED + b'\r\n2;a="\r\nb"\r\n{}\r\n0\r\n\r\n'),
    "a space before the colon": (GET, b"X-A : b\r\n\r\n"),
    "a header without a name": (GET, b": b\r\n\r\n"),
    "a header without a colon": (GET, b"nothing\r\n\r\n"),
    "a null byte in a value": (GET, b"X-A: b\0c\r\n\r\n"),
    "a method in lower case": (b"get /v1/models HTTP/1.1\r\n", b"\r\n"),
    "a method nobody knows": (b"FOO /v1/models HTTP/1.1\r\n", b"\r\n"),
    "a space in the path": (b"GET /v1/mo dels HTTP/1.1\r\n", b"\r\n"),
    "a null byte in the path": (b"GET /v1/models%00 HTTP/1.1\r\n", b"\r\n"),
    "a fragment": (b"GET /v1/models#x HTTP/1.1\r\n", b"\r\n"),
    "bytes beyond ASCII in the path": (b"GET /v1/\xff HTTP/1.1\r\n", b"\r\n"),
    "a path without a slash": (b"GET models HTTP/1.1\r\n", b"\r\n"),
    "a slash that is written as something else": (b"GET /v1%2Fmodels HTTP/1.1\r\n", b"\r\n"),
    "the asterisk": (b"GET * HTTP/1.1\r\n", b"\r\n"),
    "an old version": (b"GET /v1/models HTTP/1.0\r\n", b"\r\n"),
    "a version there is not": (b"GET /v1/models HTTP/1.2\r\n", b"\r\n"),
    "a tunnel": (b"CONNECT localhost:443 HTTP/1.1\r\n", b"\r\n"),
    "a tunnel into the API": (b"CONNECT /v1/models HTTP/1.1\r\n", b"\r\n"),
    "a web socket": (GET, b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"),
    "a path that is too long": (b"GET /v1/models?" + b"a" * 17_000 + b" HTTP/1.1\r\n", b"\r\n"),
    "a compressed body": (POST, b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"),
}


@pytest.mark.parametrize("shape", REFUSED)
async def test_a_request_that_can_be_read_in_two_ways_is_refused_and_reaches_no_service(shape, ask, services):
    calls = len(services.calls)
    answer = await ask(*REFUSED[shape])
    assert 400 <= answer.status < 500
    assert json.loads(answer.body)["details"][0]["reason"] == "MALFORMED_REQUEST"
    assert len(services.calls) == calls


@pytest.mark.parametrize(
    "shape", [name for name in REFUSED if name.startswith(("a length", "chunk", "two", "a chunk"))]
)
async def test_where_the_next_request_begins_is_not_guessed(shape, ask):
    assert (await ask(*REFUSED[shape])).is_closed


async def test_what_is_folded_or_has_stray_returns_arrives_as_one_clean_line(ask, services):
    assert (await ask(GET, b"X-A: b\rc\r\n\r\n")).status == 200
    assert services.last()[1]["x-a"] == "bc"
    assert (await ask(GET, b"X-A: b\r\n X-B: c\r\n\r\n")).status == 200
    assert "x-b" not in services.last()[1]
    assert "\r" not in services.last()[1]["x-a"]
    assert "\n" not in services.last()[1]["x-a"]


async def test_no_trailer_becomes_a_header(ask, services):
    body = CHUNKED + b"Trailer: x-forge-account\r\n\r\n2\r\n{}\r\n0\r\nx-forge-account: somebody-else\r\n\r\n"
    assert (await ask(POST, body)).status == 200
    assert services.last()[1]["x-forge-account"] == "default"


async def test_a_client_cannot_have_the_identity_taken_off_as_a_header_of_the_hop(ask, services):
    for name in (b"x-forge-account", b"x-forge-scopes", b"authorization", b"x-request-id"):
        answer = await ask(GET, b"Connection: close, " + name + b"\r\n\r\n")
        assert answer.status in (200, 401)
        if answer.status == 200:
            assert services.last()[1]["x-forge-account"] == "default"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/v1/models/%2e%2e/%2e%2e/etc/passwd", 404),
        (b"/v1/x/..%2f..%2fetc", 400),
        (b"/static/../../etc/passwd", 404),
        (b"/static/%2e%2e/%2e%2e/etc/passwd", 404),
        (b"/v1/models;x=1", 404),
        (b"/v1/models/%zz", 200),
        (b"/v1/renders/a%0ab", 200),
    ],
)
async def test_paths_lead_nowhere_they_should_not(path, status, ask):
    assert (await ask(b"GET " + path + b" HTTP/1.1\r\n")).status == status


async def test_a_target_with_its_host_in_it_is_for_that_host(ask, address):
    line = b"GET http://%s/v1/models HTTP/1.1\r\n"
    assert (await ask(line % address.encode())).status == 200
    assert (await ask(line % b"elsewhere.example")).status == 421


async def test_an_upgrade_to_http_2_is_passed_over(ask):
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    assert (await ask(GET, upgrade)).status == 200


@pytest.mark.parametrize("method", [b"TRACE", b"OPTIONS", b"PATCH", b"PUT"])
async def test_methods_that_nothing_has_are_not_found(method, ask):
    assert (await ask(method + b" /v1/models HTTP/1.1\r\n", b"Content-Length: 0\r\n\r\n")).status == 404


async def test_headers_up_to_their_limit_reach_the_service(ask, services):
    for _ in range(5):  # without room for them some of these would be refused, at random
        answer = await ask(b"GET /v1/models?query=" + b"a" * 15_000 + b" HTTP/1.1\r\n")
        assert answer.status == 200
        assert len(services.last()[2].query) == 15_000


async def test_what_is_no_http_at_all_is_closed(address):
    for noise in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200, b"\0" * 300, b"SSH-2.0-x\r\n\r\n"):
        answer = await exchange(address, noise)
        assert answer.status in (0, 400, 426)
        assert answer.is_closed
