"""What takes long: events, videos, waiting calls."""

import asyncio
import json

import grpc
import httpx
import pytest
import pytest_asyncio
from forge.scheduler.v1 import render_pb2, render_service_pb2, render_service_pb2_grpc
from google.rpc import code_pb2
from grpc import aio

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVENTS = "/v1/renders/a-render/events?after_seq=0"
FAMILY_EVENTS = "/v1/model-families/a-model/events?version=v1"


@pytest.mark.parametrize(
    ("accept", "content_type", "prefix"),
    [
        ("*/*", "application/json", ""),
        ("application/x-ndjson", "application/json", ""),
        ("text/event-stream", "text/event-stream", "data: "),
        ("text/html, Text/Event-Stream;q=0.9", "text/event-stream", "data: "),
    ],
)
async def test_an_event_arrives_while_its_stream_is_open(accept, content_type, prefix, edge, keys, services):
    with services.held():
        async with edge.http.stream("GET", EVENTS, headers=keys.header | {"accept": accept}) as answer:
            assert answer.headers["content-type"] == content_type
            lines = answer.aiter_lines()
            assert json.loads((await anext(lines)).removeprefix(prefix))["seq"] == 1
            services.may_end.set()
            rest = [line async for line in lines if line]
    assert [json.loads(line.removeprefix(prefix))["seq"] for line in rest] == [2]


@pytest.mark.parametrize(
    ("accept", "content_type", "prefix"),
    [("*/*", "application/json", ""), ("text/event-stream", "text/event-stream", "data: ")],
)
async def test_a_change_of_a_runtime_arrives_while_its_stream_is_open(
    accept, content_type, prefix, edge, keys, services
):
    with services.held():
        async with edge.http.stream("GET", FAMILY_EVENTS, headers=keys.header | {"accept": accept}) as answer:
            assert answer.headers["content-type"] == content_type
            lines = answer.aiter_lines()
            first = json.loads((await anext(lines)).removeprefix(prefix))
            assert (first["slug"], first["status"]) == ("a-model", "starting")
            services.may_end.set()
            rest = [line async for line in lines if line]
    assert [json.loads(line.removeprefix(prefix))["status"] for line in rest] == ["warm"]


async def test_only_event_streams_are_server_sent_events(edge, keys):
    answer = await edge.http.get("/v1/renders/a-render", headers=keys.header | {"accept": "text/event-stream"})
    assert answer.headers["content-type"] == "application/json"


async def test_a_native_event_arrives_while_its_stream_is_open(edge, keys, services):
    watch = render_service_pb2_grpc.RenderServiceStub(edge.grpc).WatchRender
    with services.held():
        call = watch(render_service_pb2.WatchRenderRequest(render_id="a-render"), metadata=keys.metadata)
        events = aiter(call)
        assert (await anext(events)).seq == 1
    assert [event.seq async for event in events] == [2]


async def test_one_channel_holds_many_watches(edge, keys, services):
    watch = render_service_pb2_grpc.RenderServiceStub(edge.grpc).WatchRender
    request = render_service_pb2.WatchRenderRequest(render_id="a-render")
    with services.held():
        calls = [watch(request, metadata=keys.metadata) for _ in range(300)]
        first = await asyncio.gather(*(call.read() for call in calls))
    assert {event.seq for event in first if isinstance(event, render_pb2.RenderEvent)} == {1}
    await asyncio.gather(*(call.read() for call in calls))


async def test_a_video_arrives_byte_for_byte(edge, keys, services):
    answer = await edge.http.get("/v1/renders/a-render/video", headers=keys.header)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.content == services.video


async def test_a_native_video_arrives_byte_for_byte(edge, keys, services):
    get_video = render_service_pb2_grpc.RenderServiceStub(edge.grpc).GetVideo
    call = get_video(render_service_pb2.GetVideoRequest(render_id="a-render"), metadata=keys.metadata)
    assert b"".join([part.data async for part in call]) == services.video


async def test_the_deadline_of_a_client_is_kept(edge, keys, services):
    infer = render_service_pb2_grpc.RenderServiceStub(edge.grpc).Infer
    with services.held():
        with pytest.raises(aio.AioRpcError) as refusal:
            await infer(render_service_pb2.InferRequest(slug="slow"), metadata=keys.metadata, timeout=0.05)
        assert refusal.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        headers = keys.header | {"grpc-timeout": "50m"}
        answer = await edge.http.post("/v1/inference/slow", json={}, headers=headers)
        assert answer.status_code == 504
        assert answer.json()["code"] == code_pb2.DEADLINE_EXCEEDED


async def test_a_deadline_that_passes_within_a_stream_is_a_deadline_and_no_broken_connection(edge, keys, services):
    watch = render_service_pb2_grpc.RenderServiceStub(edge.grpc).WatchRender
    request = render_service_pb2.WatchRenderRequest(render_id="a-render")

    async def code():
        with pytest.raises(aio.AioRpcError) as ended:
            async for _ in watch(request, metadata=keys.metadata, timeout=0.2):
                pass
        return ended.value.code()

    with services.held():
        assert set(await asyncio.gather(*(code() for _ in range(60)))) == {grpc.StatusCode.DEADLINE_EXCEEDED}
        answer = await edge.http.get(EVENTS, headers=keys.header | {"grpc-timeout": "200m"})
        assert [json.loads(line)["seq"] for line in answer.text.splitlines()] == [1]


async def test_a_client_that_leaves_ends_its_call(edge, keys, services):
    with services.held():
        with pytest.raises(httpx.ReadTimeout):
            await edge.http.post("/v1/inference/slow", json={}, headers=keys.header, timeout=0.1)
        await asyncio.wait_for(services.left.get(), 5)


@pytest_asyncio.fixture(loop_scope="session")
async def hasty_edge(other_addresses, tmp_path, start_edge):
    """An edge that gives up after half a second wherever it may."""

    def hasten(config):
        return config.replace('"stream_idle_timeout": "300s"', '"stream_idle_timeout": "0.5s"').replace(
            '"30s"', '"0.5s"'
        )

    async with start_edge(tmp_path, other_addresses, edit=hasten) as edge:
        yield edge


async def test_waiting_for_a_render_is_never_cut_off(hasty_edge, keys, services):
    stub = render_service_pb2_grpc.RenderServiceStub(hasty_edge.grpc)
    with services.held():
        waiting = [
            asyncio.create_task(hasty_edge.http.post("/v1/inference/slow", json={}, headers=keys.header)),
            asyncio.create_task(hasty_edge.http.get(EVENTS, headers=keys.header)),
            asyncio.create_task(hasty_edge.http.get(FAMILY_EVENTS, headers=keys.header)),
            asyncio.create_task(hasty_edge.http.post("/v1/model-families/slow/start", json={}, headers=keys.header)),
        ]
        native = stub.Infer(render_service_pb2.InferRequest(slug="slow"), metadata=keys.metadata)
        ended, _ = await asyncio.wait(waiting, timeout=1.5)
        assert not ended
        assert not native.done()
    assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200] * 4
    await native


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/models/slow"), ("DELETE", "/v1/webhooks/slow")])
async def test_a_prompt_method_that_hangs_is_given_up(method, path, hasty_edge, keys, services):
    with services.held():
        answer = await hasty_edge.http.request(method, path, headers=keys.header)
    assert answer.status_code == 504
