"""What goes over the wire, to which address, and what of an answer counts: against real servers on loopback."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.scheduler.adapters.http_courier import HttpCourier
from services.scheduler.domain.webhook import Answer
from tests.unit.scheduler.http_bench import NAME, Names, Server, a_certificate, a_server, saying, silence, status

HEADERS = {"content-type": "application/json", "webhook-id": "dlv_1"}
BODY = b'{"type":"render.succeeded"}'


async def posted(url: str, *, to_private: bool = True, **more) -> Answer:
    async with HttpCourier(to_private_addresses=to_private, **more) as courier:
        return await courier.post(url, HEADERS, BODY)


async def test_a_message_arrives_as_it_was_given():
    async with a_server(status(204)) as server:
        answer = await posted(f"http://127.0.0.1:{server.port}/forge?x=a%20b")
    assert (answer.status, answer.problem) == (204, "")
    ((line, headers, body),) = server.requests
    assert line == "POST /forge?x=a%20b HTTP/1.1"
    assert body == BODY
    assert headers == HEADERS | {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": "forge-webhooks/1",
        "content-length": str(len(BODY)),
    }


@pytest.mark.parametrize("code", [200, 201, 400, 404, 410, 429, 500, 503])
async def test_the_status_is_the_answer(code):
    async with a_server(status(code, "Retry-After: 17")) as server:
        assert await posted(f"http://127.0.0.1:{server.port}/") == Answer(status=code, retry_after="17")


async def test_redirects_are_not_followed():
    async with a_server(status(200)) as elsewhere:
        async with a_server(status(307, f"location: http://127.0.0.1:{elsewhere.port}/")) as server:
            assert (await posted(f"http://127.0.0.1:{server.port}/")).status == 307
        assert elsewhere.connections == 0


async def test_a_host_is_looked_up_once_and_only_what_it_led_to_is_connected_to():
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    async with a_server(status(200)) as server:
        answer = await posted(f"http://{NAME}:{server.port}/", resolve=names)
    assert answer.status == 200
    assert names.asked == [(NAME, server.port)]
    assert server.requests[0][1]["host"] == f"{NAME}:{server.port}"


async def test_a_name_that_leads_home_is_not_followed_there():
    async with a_server(status(200)) as server:
        for addresses in (
            ["127.0.0.1"],
            ["::1"],
            ["8.8.8.8", "127.0.0.1"],
            ["169.254.169.254"],
            ["10.0.0.1"],
            ["::ffff:127.0.0.1"],
            ["100.64.0.1"],
        ):
            answer = await posted(f"https://{NAME}:{server.port}/", to_private=False, resolve=Names(addresses))
            assert answer == Answer(problem="not sent: the URL must lead to a public address"), addresses
    assert server.connections == 0


async def test_even_where_private_addresses_are_allowed_the_rest_is_not():
    for addresses in (["169.254.169.254"], ["0.0.0.0"], ["224.0.0.1"], ["8.8.8.8"], ["127.0.0.1", "169.254.1.1"]):
        answer = await posted(f"http://{NAME}/", resolve=Names(addresses))
        assert answer.problem == "not sent: the URL must lead to a loopback or private address", addresses


async def test_a_webhook_from_before_a_stricter_setting_is_not_delivered_to():
    async with a_server(status(200)) as server:
        answer = await posted(f"http://127.0.0.1:{server.port}/", to_private=False)
        assert answer == Answer(problem="not sent: the URL must begin with https://")
        answer = await posted(f"https://127.0.0.1:{server.port}/", to_private=False)
        assert answer == Answer(problem="not sent: the URL must lead to a public address")
    assert server.connections == 0


async def test_proxies_of_the_environment_are_not_used(monkeypatch):
    async with a_server(status(200)) as proxy, a_server(status(200)) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert (await posted(f"http://{NAME}:{server.port}/", resolve=Names(["127.0.0.1"]))).status == 200
    assert (proxy.connections, server.connections) == (0, 1)


async def test_a_dead_address_of_a_name_leaves_the_others():
    async with a_server(status(200)) as server:
        answer = await posted(f"http://{NAME}:{server.port}/", resolve=Names(["127.0.0.9", "127.0.0.1"]))
        assert answer.status == 200


async def test_a_message_that_was_sent_is_not_sent_to_another_address_too():
    async with a_server(saying("nonsense\r\n\r\n")) as server:
        answer = await posted(f"http://{NAME}:{server.port}/", resolve=Names(["127.0.0.1", "127.0.0.1"]))
    assert answer.problem == "the connection broke before there was an answer"
    assert len(server.requests) == 1


async def test_each_message_has_a_connection_of_its_own_and_nothing_is_remembered_between_them():
    answering = status(200, "set-cookie: a=b")
    async with a_server(answering, keeps_open=True) as server, HttpCourier(to_private_addresses=True) as courier:
        for _ in range(3):
            await courier.post(f"http://127.0.0.1:{server.port}/", HEADERS, BODY)
    assert server.connections == 3
    assert all("cookie" not in headers for _, headers, _ in server.requests)


async def test_a_receiver_that_does_not_answer_in_time_is_not_waited_for():
    async def dripping(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"H")
            await writer.drain()
            await asyncio.sleep(0.02)

    for answering in (silence, dripping):
        async with a_server(answering) as server:
            answer = await posted(f"http://127.0.0.1:{server.port}/", timeout_seconds=0.15)
        assert answer == Answer(problem="no answer within 0.15 s")


async def test_a_name_server_that_does_not_answer_is_not_waited_for():
    async def never(_host: str, _port: int) -> list[str]:
        await asyncio.sleep(3600)
        return []

    assert (await posted(f"http://{NAME}/", resolve=never, timeout_seconds=0.05)).problem == "no answer within 0.05 s"


async def test_a_message_that_is_called_off_leaves_nothing_open():
    async with a_server(silence) as server, HttpCourier(to_private_addresses=True) as courier:
        before = asyncio.all_tasks()
        sending = asyncio.create_task(courier.post(f"http://127.0.0.1:{server.port}/", HEADERS, BODY))
        while not server.requests:
            await asyncio.sleep(0.001)
        sending.cancel()
        await asyncio.wait([sending])
        assert sending.cancelled()
        assert sending not in asyncio.all_tasks() - before


async def test_an_answer_without_end_is_not_read_to_its_end():
    written = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            await writer.drain()
            written += 0x10000

    async with a_server(endless) as server:
        assert await posted(f"http://127.0.0.1:{server.port}/") == Answer(status=200)
    assert written < 2**24  # what fits into the buffers on the way


async def test_an_answer_that_breaks_off_counts_by_its_status():
    async with a_server(saying("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nshort")) as server:
        assert (await posted(f"http://127.0.0.1:{server.port}/")).status == 200


async def test_an_answer_is_not_unpacked():
    packed = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope"
    async with a_server(saying(packed)) as server:
        assert (await posted(f"http://127.0.0.1:{server.port}/")).status == 200


async def test_what_went_wrong_is_said():
    async with a_server(status(200)) as server:
        port = server.port
    assert (await posted(f"http://127.0.0.1:{port}/")).problem == "could not connect"

    async def unknown(_host: str, _port: int) -> list[str]:
        raise OSError("no such name")

    assert (await posted(f"http://{NAME}/", resolve=unknown)).problem == "the host's name cannot be resolved"


async def test_names_are_looked_up_by_the_machine():
    async with a_server(status(200), host="localhost") as server:
        assert (await posted(f"http://localhost:{server.port}/")).status == 200


def test_the_trusted_authorities_can_be_set_by_the_usual_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere.pem"))
    with pytest.raises(FileNotFoundError):
        HttpCourier(to_private_addresses=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_certificate(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def a_tls_server(certificate: Path) -> AsyncIterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with a_server(status(200), tls=context) as server:
        yield server


async def test_tls_is_with_the_host_although_the_connection_is_to_its_address(certificate):
    trust = ssl.create_default_context(cafile=str(certificate))
    async with a_tls_server(certificate) as server:
        answer = await posted(f"https://{NAME}:{server.port}/x", resolve=Names(["127.0.0.1"]), trust=trust)
    assert answer.status == 200
    assert server.server_names == [NAME]
    assert server.requests[0][1]["host"] == f"{NAME}:{server.port}"


async def test_a_certificate_of_another_host_or_of_nobody_is_refused(certificate):
    trust = ssl.create_default_context(cafile=str(certificate))
    async with a_tls_server(certificate) as server:
        url = f"https://other.example.com:{server.port}/"
        other = await posted(url, resolve=Names(["127.0.0.1"]), trust=trust)
        stranger = await posted(f"https://{NAME}:{server.port}/", resolve=Names(["127.0.0.1"]))
    assert other.problem.startswith("the certificate is not valid: Hostname mismatch")
    assert stranger.problem.startswith("the certificate is not valid: self")
    assert server.requests == []


async def test_http_where_tls_was_expected_is_said():
    async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        answer = await posted(f"https://{NAME}:{port}/", resolve=Names(["127.0.0.1"]))
    assert answer.problem == "TLS could not be agreed on"
