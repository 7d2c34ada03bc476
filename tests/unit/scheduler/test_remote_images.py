"""Images at addresses: where they may be, how much is read, and what of an answer is believed."""

import asyncio
import gzip
import ssl

import pytest

from services.chassis.images import MAX_FILE_BYTES, ImageRefused
from services.scheduler.adapters.http_images import AT_ONCE_PER_ACCOUNT, HttpImages
from tests.unit.scheduler.http_bench import NAME, Names, Server, a_certificate, a_server, saying, silence, status
from tests.unit.scheduler.images_bench import a_desk, a_png, data_uri

PNG = a_png()


def an_image(data: bytes = PNG, media_type: str = "image/png", *headers: str):
    head = ["HTTP/1.1 200 OK", f"content-type: {media_type}", f"content-length: {len(data)}", *headers]
    return saying("\r\n".join(head) + "\r\n\r\n", data)


async def fetched(url: str, *, hosts: tuple[str, ...] = ("*",), to_private: bool = True, **more):
    async with HttpImages(hosts, to_private_addresses=to_private, **more) as images:
        return await images.fetch(url, "ann")


async def refusal(url: str, **more) -> str:
    with pytest.raises(ImageRefused) as caught:
        await fetched(url, **more)
    return str(caught.value)


async def test_an_image_is_fetched_as_it_is():
    async with a_server(an_image()) as server:
        file = await fetched(f"http://127.0.0.1:{server.port}/cat.png?x=1")
    assert (file.media_type, file.data) == ("image/png", PNG)
    ((line, headers, _),) = server.requests
    assert line == "GET /cat.png?x=1 HTTP/1.1"
    assert headers["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "x-forge-account"} & set(headers)


async def test_a_render_keeps_the_image_and_not_its_address(tmp_path):
    remote = HttpImages(["127.0.0.1"], to_private_addresses=True)
    async with a_server(an_image()) as server, a_desk(tmp_path, remote=remote) as desk:
        url = f"http://127.0.0.1:{server.port}/"
        assert await desk.images.resolved(url, "ann") == data_uri(PNG)
        assert await desk.images.resolved(url, None) == url
    assert server.connections == 1


async def test_what_was_fetched_is_decoded_before_it_is_taken(tmp_path):
    remote = HttpImages(["*"], to_private_addresses=True)
    async with a_server(an_image(PNG[:45])) as server, a_desk(tmp_path, remote=remote) as desk:
        with pytest.raises(ImageRefused, match="damaged"):
            await desk.images.resolved(f"http://127.0.0.1:{server.port}/", "ann")


@pytest.mark.parametrize(
    ("hosts", "host", "is_allowed"),
    [
        (("*",), "a.example", True),
        (("img.example.com",), "img.example.com", True),
        (("IMG.example.com",), "img.EXAMPLE.com", True),
        (("img.example.com",), "example.com", False),
        (("img.example.com",), "evil-img.example.com", False),
        (("*.example.com",), "a.b.example.com", True),
        (("*.example.com",), "example.com", False),
        (("*.example.com",), "evilexample.com", False),
        (("a.example", "b.example"), "b.example", True),
    ],
)
async def test_only_hosts_that_the_installation_names_are_asked(hosts, host, is_allowed):
    names = Names(["127.0.0.1"])
    async with a_server(an_image()) as server:
        url = f"http://{host}:{server.port}/"
        if is_allowed:
            assert (await fetched(url, hosts=hosts, resolve=names)).data == PNG
        else:
            assert "hosts that this installation fetches from" in await refusal(url, hosts=hosts, resolve=names)
            assert names.asked == []


async def test_a_name_is_looked_up_once_and_connected_to_where_it_led_then():
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    async with a_server(an_image()) as server:
        await fetched(f"http://{NAME}:{server.port}/", resolve=names)
    assert names.asked == [(NAME, server.port)]
    assert server.requests[0][1]["host"] == f"{NAME}:{server.port}"


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["10.0.0.1"],
        ["172.16.0.1"],
        ["192.168.1.1"],
        ["169.254.169.254"],
        ["fe80::1"],
        ["100.64.0.1"],
        ["224.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["0.0.0.0"],
        ["8.8.8.8", "127.0.0.1"],
    ],
)
async def test_a_name_that_leads_inside_is_not_followed(addresses):
    async with a_server(an_image()) as server:
        said = await refusal(f"https://{NAME}:{server.port}/", to_private=False, resolve=Names(addresses))
    assert said == "cannot be fetched: the URL must lead to a public address"
    assert server.connections == 0


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://a.example/", "must begin with https://"),
        ("https://127.0.0.1/", "must lead to a public address"),
        ("https://[::1]/", "must lead to a public address"),
        ("https://localhost/", "must lead to a public address"),
        ("https://2130706433/", "must name a host"),
        ("https://me:secret@a.example/", "must not hold credentials"),
        ("https://a.example/\x00", "plain ASCII"),
        ("https://a.example/#x", "fragment"),
    ],
)
async def test_an_address_must_be_a_public_one_over_https(url, says):
    assert says in await refusal(url, to_private=False)


async def test_redirects_are_not_followed():
    async with a_server(an_image()) as inside:
        away = status(302, f"location: http://127.0.0.1:{inside.port}/")
        async with a_server(away) as server:
            assert "sends on to another address" in await refusal(f"http://127.0.0.1:{server.port}/")
    assert inside.connections == 0


async def test_proxies_of_the_environment_are_not_used(monkeypatch):
    async with a_server(status(200)) as proxy, a_server(an_image()) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await fetched(f"http://{NAME}:{server.port}/", resolve=Names(["127.0.0.1"]))
    assert (proxy.connections, server.connections) == (0, 1)


@pytest.mark.parametrize("code", [204, 206, 401, 404, 500])
async def test_only_a_whole_answer_counts(code):
    async with a_server(status(code)) as server:
        assert await refusal(f"http://127.0.0.1:{server.port}/") == f"cannot be fetched: its host answers {code}"


@pytest.mark.parametrize(
    ("answering", "says"),
    [
        (an_image(media_type="text/html"), "its host must send it as one of: image/png"),
        (an_image(media_type="image/jpeg"), "its bytes are no image/jpeg"),
        (an_image(b"GIF89a"), "its bytes are no image/png"),
        (saying("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"), "its host must send it as one of"),
        (an_image(gzip.compress(PNG), "image/png", "content-encoding: gzip"), "sends it compressed"),
        (saying("nonsense\r\n\r\n"), "the connection broke"),
        (
            saying("HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 999\r\n\r\n", PNG),
            "the connection broke",
        ),
    ],
)
async def test_bytes_and_media_type_must_agree_and_be_all_there(answering, says):
    async with a_server(answering) as server:
        assert says in await refusal(f"http://127.0.0.1:{server.port}/")


@pytest.mark.parametrize("is_chunked", [True, False])
async def test_no_more_is_read_than_fits_whatever_is_said_of_its_size(is_chunked):
    written = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        framing = "transfer-encoding: chunked" if is_chunked else f"content-length: {2**40}"
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n{framing}\r\n\r\n".encode())
        while True:
            writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n" if is_chunked else bytes(0x10000))
            await writer.drain()
            written += 0x10000

    async with a_server(endless) as server:
        assert await refusal(f"http://127.0.0.1:{server.port}/") == "must have at most 16 MiB"
    assert written < 2 * MAX_FILE_BYTES


async def test_a_host_that_is_slow_is_not_waited_for():
    async def dripping(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 100000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    for answering in (silence, dripping):
        async with a_server(answering) as server:
            said = await refusal(f"http://127.0.0.1:{server.port}/", timeout_seconds=0.2)
        assert said == "cannot be fetched: no answer within 0.2 s"


async def test_an_account_fetches_a_few_at_once_and_is_in_nobodys_way():
    at_once = most = 0

    async def counted(writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        await an_image()(writer)

    async with a_server(counted) as server, HttpImages(["*"], to_private_addresses=True) as images:
        await asyncio.gather(*(images.fetch(f"http://127.0.0.1:{server.port}/", "ann") for _ in range(12)))
    assert most == AT_ONCE_PER_ACCOUNT
    assert len(server.requests) == 12


async def test_tls_is_with_the_host_and_a_strangers_certificate_is_refused(tmp_path):
    certificate = a_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    trust = ssl.create_default_context(cafile=str(certificate))
    async with a_server(an_image(), tls=context) as server:
        assert isinstance(server, Server)
        url = f"https://{NAME}:{server.port}/"
        assert (await fetched(url, resolve=Names(["127.0.0.1"]), trust=trust)).data == PNG
        assert "certificate is not valid" in await refusal(url, resolve=Names(["127.0.0.1"]))
    assert server.server_names == [NAME, NAME]
