"""Bytes of videos through the edge: parts, what breaks off, who goes away, and links that need no key."""

import asyncio
import hashlib

import httpx
import pytest

from services.chassis.errors import ForgeError, Kind

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIDEO = "/v1/renders/a-render/video"
GROWING = "/v1/renders/growing/video"
LINKS = "/v1/renders/a-render/video-links"


@pytest.mark.parametrize("encoding", ["identity", "gzip, deflate, br"])
async def test_a_part_of_a_video_is_all_that_is_fetched(encoding, edge, keys, services):
    headers = keys.header | {"range": "bytes=1000000-2999999", "accept-encoding": encoding}
    answer = await edge.http.get(VIDEO, headers=headers)
    assert (answer.status_code, answer.content) == (206, services.video[1_000_000:3_000_000])
    assert answer.headers["content-range"] == f"bytes 1000000-2999999/{len(services.video)}"
    assert "content-encoding" not in answer.headers
    request = services.last()[2]
    assert (request.offset, request.length) == (1_000_000, 2_000_000)


async def test_a_whole_video_says_what_it_is(edge, keys, services):
    answer = await edge.http.get(VIDEO, headers=keys.header)
    assert answer.content == services.video
    facts = {
        "content-type": "video/mp4",
        "content-length": str(len(services.video)),
        "accept-ranges": "bytes",
        "etag": f'"{hashlib.sha256(services.video).hexdigest()}"',
        "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT",
        "content-disposition": 'inline; filename="a-model-a-render.mp4"',
        "cache-control": "private, max-age=31536000, immutable",
    }
    assert dict(answer.headers) | facts == dict(answer.headers)
    download = await edge.http.get(f"{VIDEO}?download=1", headers=keys.header | {"range": "bytes=0-0"})
    assert download.headers["content-disposition"].startswith("attachment; ")


async def test_what_a_browser_has_is_not_sent_again(edge, keys, services):
    etag = (await edge.http.head(VIDEO, headers=keys.header)).headers["etag"]
    services.calls.clear()
    answer = await edge.http.get(VIDEO, headers=keys.header | {"if-none-match": etag, "range": "bytes=5-"})
    assert (answer.status_code, answer.content) == (304, b"")
    assert [name.rpartition(".")[2] for name, _, _ in services.calls] == ["GetRender"]


async def test_the_head_of_a_video_is_that_of_its_whole(edge, keys, services):
    answer = await edge.http.head(VIDEO, headers=keys.header | {"range": "bytes=0-1"})
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(services.video)))
    assert services.last()[2].length == 1


async def test_a_part_that_is_not_there_is_refused_with_the_size(edge, keys, services):
    answer = await edge.http.get(VIDEO, headers=keys.header | {"range": f"bytes={len(services.video)}-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(services.video)}")
    assert answer.json()["details"][0]["reason"] == "INVALID_INPUT"


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-9", "bytes=9-1", "bytes=", "lines=0-1", "bytes=x-"])
async def test_what_is_no_single_range_of_bytes_gets_the_whole(wanted, edge, keys, services):
    answer = await edge.http.get(VIDEO, headers=keys.header | {"range": wanted})
    assert (answer.status_code, answer.content) == (200, services.video)


async def test_a_part_of_another_file_is_not_joined_to_what_somebody_has(edge, keys, services):
    headers = keys.header | {"range": "bytes=5-"}
    etag = (await edge.http.head(VIDEO, headers=keys.header)).headers["etag"]
    same = await edge.http.get(VIDEO, headers=headers | {"if-range": etag})
    other = await edge.http.get(VIDEO, headers=headers | {"if-range": '"another"'})
    assert (same.status_code, other.status_code) == (206, 200)


async def test_a_growing_video_arrives_while_it_grows_and_is_kept_by_nobody(edge, keys, services):
    with services.held():
        async with edge.http.stream("GET", GROWING, headers=keys.header | {"range": "bytes=100-"}) as answer:
            assert answer.status_code == 200
            assert answer.headers["cache-control"] == "no-store"
            assert not {"accept-ranges", "etag", "content-length"} & set(answer.headers)
            parts = answer.aiter_bytes()
            beginning = await anext(parts)
            services.may_end.set()
            assert beginning + b"".join([part async for part in parts]) == services.video


async def test_a_growing_video_that_is_cut_off_breaks_the_connection(edge, keys, services):
    services.cuts_off = True
    try:
        with services.held():
            async with edge.http.stream("GET", GROWING, headers=keys.header) as answer:
                parts = answer.aiter_bytes()
                await anext(parts)
                services.may_end.set()
                with pytest.raises(httpx.RemoteProtocolError):
                    await _all(parts)
    finally:
        services.cuts_off = False


async def test_a_client_that_leaves_ends_the_stream_of_its_video(edge, keys, services):
    with services.held():
        async with edge.http.stream("GET", GROWING, headers=keys.header) as answer:
            await anext(answer.aiter_bytes())
        assert await asyncio.wait_for(services.left.get(), 5) == "GetVideo"


async def test_a_head_lets_go_of_a_growing_video(edge, keys, services):
    with services.held():
        assert (await edge.http.head(GROWING, headers=keys.header)).status_code == 200
        assert await asyncio.wait_for(services.left.get(), 5) == "GetVideo"


async def test_a_video_that_is_not_there_is_told_in_the_words_of_the_contract(edge, keys):
    answer = await edge.http.get("/v1/renders/missing/video", headers=keys.header)
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (404, "RENDER_NOT_FOUND")


async def test_a_link_opens_one_video_without_a_key_in_the_name_of_who_made_it(edge, keys, services):
    made = (
        await edge.http.post(LINKS, json={"ttl_seconds": 60}, headers={"authorization": f"Bearer {keys.reader}"})
    ).json()
    answer = await edge.http.get(made["url"], headers={"range": "bytes=7-"})
    assert (answer.status_code, answer.content) == (206, services.video[7:])
    assert answer.headers["content-disposition"].startswith("attachment; ")
    metadata, request = services.last()[1:]
    assert request.render_id == "a-render"
    assert {name: value for name, value in metadata.items() if name.startswith("x-forge-")} == {
        "x-forge-account": "default",
        "x-forge-key-id": "",
        "x-forge-scopes": "read",
    }


async def test_a_changed_link_opens_nothing(edge, keys, services):
    url = (await edge.http.post(LINKS, headers=keys.header)).json()["url"]
    services.calls.clear()
    for changed in (url[:-2], f"{url[:-2]}AA", url.replace("/links/W", "/links/X"), "/links/x"):
        answer = await edge.http.get(changed)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")
        assert "not valid" in answer.text
    assert services.calls == []


async def test_a_link_to_a_video_that_is_gone_says_so(edge, keys, services, monkeypatch):
    url = (await edge.http.post(LINKS, headers=keys.header)).json()["url"]
    monkeypatch.setattr(services, "render", lambda render_id: _gone())
    answer = await edge.http.get(url)
    assert (answer.status_code, "no longer there" in answer.text) == (404, True)
    page = await edge.http.get(url, headers={"accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_links_are_made_with_a_key_only(method, edge):
    assert (await edge.http.request(method, LINKS)).status_code == 401


def _gone():
    raise ForgeError("no such render", kind=Kind.NOT_FOUND, reason="RENDER_NOT_FOUND")


async def _all(parts):
    return [part async for part in parts]
