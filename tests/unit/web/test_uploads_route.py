"""Files sent to the web service, as a body or in a form: what of them reaches the contract."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from forge.scheduler.v1 import upload_pb2

from services.chassis.images import MAX_FILE_BYTES
from services.web.adapters.contract import contract_at
from services.web.adapters.signed_links import SignedLinks
from services.web.app import application
from services.web.config import WebSettings
from services.web.site import Site

PNG = b"\x89PNG\r\n\x1a\n and more"


@pytest.fixture
async def client(platform) -> AsyncIterator[httpx.AsyncClient]:
    """Sends files as a key with the scope inference."""
    async with AsyncExitStack() as stack:
        settings = WebSettings(
            scheduler_address=f"127.0.0.1:{await stack.enter_async_context(platform.serving('scheduler'))}"
        )
        contract = await stack.enter_async_context(contract_at(settings))
        transport = httpx.ASGITransport(app=application(Site(contract, settings, SignedLinks("a secret"))))
        headers = {"x-forge-account": "studio", "x-forge-key-id": "key_1", "x-forge-scopes": "inference"}
        yield await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://forge.test", headers=headers)
        )


@pytest.fixture(autouse=True)
def answer(platform) -> None:
    platform.answers["CreateUpload"] = upload_pb2.Upload(id="upl_1", uri="forge-upload://upl_1", width=8)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("image/png", "image/png"),
        ("text/html", "text/html"),
        ("application/octet-stream", ""),
        ("application/x-www-form-urlencoded", ""),
        ("", ""),
    ],
)
async def test_a_body_is_the_file_and_its_media_type_what_the_sender_says(client, platform, sent, told):
    answer = await client.post("/v1/uploads", content=PNG, headers={"content-type": sent} if sent else {})
    assert (answer.status_code, answer.json()["uri"]) == (200, "forge-upload://upl_1")
    (request,) = platform.asked
    assert (request.file.content_type, request.file.data) == (told, PNG)


async def test_a_form_holds_the_file_in_one_field(client, platform):
    answer = await client.post("/v1/uploads", files={"file": ("cat.png", PNG, "image/png")})
    assert answer.status_code == 200
    (request,) = platform.asked
    assert (request.file.content_type, request.file.data) == ("image/png", PNG)


@pytest.mark.parametrize(
    "form", [{"files": {"image": ("a.png", PNG)}}, {"files": {"x": ("", "")}, "data": {"file": "a"}}]
)
async def test_a_form_without_it_is_refused_by_the_fields_name(client, platform, form):
    answer = await client.post("/v1/uploads", **form)
    assert answer.status_code == 400
    assert answer.json()["details"][1]["field_violations"][0]["field"] == "file"
    assert platform.asked == []


async def test_a_form_that_is_none_is_refused(client, platform):
    answer = await client.post("/v1/uploads", content=b"--", headers={"content-type": "multipart/form-data"})
    assert answer.status_code == 400
    assert platform.asked == []


async def test_of_a_file_that_is_too_large_no_more_is_taken_than_shows_that(client, platform):
    async def parts():
        for _ in range(40):
            yield bytes(2**20)

    await client.post("/v1/uploads", content=parts())
    (request,) = platform.asked
    assert MAX_FILE_BYTES < len(request.file.data) <= MAX_FILE_BYTES + 2**20


async def test_a_key_that_may_only_read_sends_nothing(client, platform):
    answer = await client.post("/v1/uploads", content=PNG, headers={"x-forge-scopes": "read"})
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (403, "MISSING_SCOPE")
    assert platform.asked == []
