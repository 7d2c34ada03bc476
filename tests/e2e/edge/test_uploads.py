"""Files on their way through the edge: bytes and forms go to web, everything else about them is JSON."""

import os

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="session")

CREATE = "forge.scheduler.v1.UploadService.CreateUpload"


@pytest.mark.parametrize("form", [False, True])
async def test_the_bytes_of_a_file_arrive_as_they_were_sent(edge, keys, services, form):
    data = os.urandom(12_000_000)
    sent = {"files": {"file": ("a.png", data, "image/png")}} if form else {"content": data}
    headers = keys.header if form else keys.header | {"content-type": "image/png"}
    answer = await edge.http.post("/v1/uploads", headers=headers, **sent)
    assert answer.status_code == 200
    method, metadata, request = services.last()
    assert (method, metadata["x-forge-account"]) == (CREATE, "default")
    assert request.file.content_type == "image/png"
    assert request.file.data == data


async def test_what_is_known_of_uploads_is_asked_of_the_scheduler(edge, keys, services):
    for verb, path, method in (
        ("GET", "/v1/uploads", "ListUploads"),
        ("GET", "/v1/uploads/upl_1", "GetUpload"),
        ("DELETE", "/v1/uploads/upl_1", "DeleteUpload"),
    ):
        assert (await edge.http.request(verb, path, headers=keys.header)).status_code == 200
        assert services.last()[0].endswith(f".{method}")


async def test_nobody_sends_files_without_a_key_or_with_one_that_only_reads(edge, keys, services):
    services.calls.clear()
    assert (await edge.http.post("/v1/uploads", content=b"x")).status_code == 401
    reader = {"authorization": f"Bearer {keys.reader}"}
    assert (await edge.http.post("/v1/uploads", content=b"x", headers=reader)).status_code == 403
    assert services.calls == []


async def test_a_file_that_is_too_large_is_told_so(edge, keys, services):
    services.calls.clear()
    answer = await edge.http.post("/v1/uploads", content=bytes(2**24 + 1), headers=keys.header)
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (413, "BODY_TOO_LARGE")
    assert services.calls == []
