"""Uploads over gRPC, as the edge calls them."""

from contextlib import AsyncExitStack

import grpc
import pytest
from forge.scheduler.v1 import upload_service_pb2, upload_service_pb2_grpc
from google.api import httpbody_pb2
from grpc import aio

from services.chassis.clients import channel_to
from services.chassis.identity import Caller
from services.chassis.server import Mount, serving
from services.chassis.status import to_error
from services.scheduler.upload_servicer import UploadServicer
from tests.unit.scheduler.images_bench import a_desk, a_png

rpc = upload_service_pb2


@pytest.fixture
async def as_caller(tmp_path):
    """Makes stubs that call as the edge would for a key of an account with a scope."""
    async with AsyncExitStack() as stack:
        desk = await stack.enter_async_context(a_desk(tmp_path))
        mount = Mount(
            rpc.DESCRIPTOR.services_by_name["UploadService"],
            upload_service_pb2_grpc.add_UploadServiceServicer_to_server,
            UploadServicer(desk.uploads),
        )
        port = await stack.enter_async_context(serving("127.0.0.1:0", [mount], grace_seconds=0))

        async def stub(account: str = "ann", scope: str = "inference") -> upload_service_pb2_grpc.UploadServiceStub:
            caller = Caller(account, "key_1", frozenset({scope}))
            channel = await stack.enter_async_context(channel_to(f"127.0.0.1:{port}", caller))
            return upload_service_pb2_grpc.UploadServiceStub(channel)

        yield stub


def a_request(data: bytes, media_type: str = "image/png") -> rpc.CreateUploadRequest:
    return rpc.CreateUploadRequest(file=httpbody_pb2.HttpBody(content_type=media_type, data=data))


async def refusal_of(call) -> tuple[grpc.StatusCode, str, list[str]]:
    """Code, reason, and the fields that are named."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    error = to_error(caught.value, "scheduler")
    return caught.value.code(), error.reason, [violation.field for violation in error.violations]


async def test_an_upload_is_made_found_listed_and_removed(as_caller):
    ann = await as_caller()
    made = await ann.CreateUpload(a_request(a_png()))
    assert (made.media_type, made.width, made.height) == ("image/png", 20, 10)
    assert made.uri == f"forge-upload://{made.id}"
    assert made.expires_at.ToSeconds() - made.created_at.ToSeconds() == 86400
    assert await ann.GetUpload(rpc.GetUploadRequest(upload_id=made.id)) == made
    assert list((await ann.ListUploads(rpc.ListUploadsRequest())).uploads) == [made]
    await ann.DeleteUpload(rpc.DeleteUploadRequest(upload_id=made.id))
    gone = ann.GetUpload(rpc.GetUploadRequest(upload_id=made.id))
    assert await refusal_of(gone) == (grpc.StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND", [])


async def test_what_is_wrong_is_named_by_its_field(as_caller):
    call = (await as_caller()).CreateUpload(a_request(b"GIF89a", ""))
    assert await refusal_of(call) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT", ["file"])


async def test_an_upload_of_another_account_is_not_there(as_caller):
    ann, bob = await as_caller(), await as_caller("bob")
    made = await ann.CreateUpload(a_request(a_png()))
    for call in (
        bob.GetUpload(rpc.GetUploadRequest(upload_id=made.id)),
        bob.DeleteUpload(rpc.DeleteUploadRequest(upload_id=made.id)),
    ):
        assert (await refusal_of(call))[1] == "UPLOAD_NOT_FOUND"
    assert not (await bob.ListUploads(rpc.ListUploadsRequest())).uploads


async def test_a_key_that_may_only_read_sends_and_removes_nothing(as_caller):
    reader = await as_caller(scope="read")
    for call in (reader.CreateUpload(a_request(a_png())), reader.DeleteUpload(rpc.DeleteUploadRequest(upload_id="x"))):
        assert (await refusal_of(call))[1] == "MISSING_SCOPE"
    assert not (await reader.ListUploads(rpc.ListUploadsRequest())).uploads
