"""What the edge lets through, to whom, and what it refuses by itself."""

import json

import grpc
import pytest
from forge.catalog.v1 import catalog_service_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc import aio
from grpc_reflection.v1alpha import reflection_pb2

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIST_MODELS = "/forge.catalog.v1.CatalogService/ListModels"
MIB = 1024 * 1024


def reason(answer):
    """The reason of a refusal, after a look at its form."""
    status = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert set(status) == {"code", "message", "details"}
    assert isinstance(status["code"], int)
    assert status["message"]
    assert status["details"][0]["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert status["details"][0]["domain"] == "forge"
    return answer.status_code, status["code"], status["details"][0]["reason"]


async def test_every_method_reaches_its_service_both_ways(faked_rpc, edge, keys, services):
    assert (await faked_rpc.over_http(edge.http, keys.admin)).status_code == 200
    assert services.last()[0] == faked_rpc.method.full_name
    services.calls.clear()
    await faked_rpc.over_grpc(edge.grpc, keys.admin)
    assert services.last()[0] == faked_rpc.method.full_name


async def test_keys_are_made_listed_and_revoked_through_the_edge(edge, keys):
    made = await edge.http.post("/v1/api-keys", json={"name": "a key", "ttl": "3600s"}, headers=keys.header)
    assert made.status_code == 200
    key = made.json()["api_key"]
    listed = await edge.http.get("/v1/api-keys", headers=keys.header)
    assert listed.json()["api_keys"][0] == key
    revoked = await edge.http.delete(f"/v1/api-keys/{key['id']}", headers=keys.header)
    assert revoked.json()["revoked_at"]
    refused = await edge.http.post("/v1/api-keys", json={"scopes": ["all"]}, headers=keys.header)
    assert reason(refused) == (400, 3, "INVALID_INPUT")
    assert [wrong["field"] for wrong in refused.json()["details"][1]["field_violations"]] == ["name", "scopes[0]"]
    missing = await edge.http.delete("/v1/api-keys/nope", headers=keys.header)
    assert reason(missing) == (404, 5, "API_KEY_NOT_FOUND")


async def test_the_edge_offers_exactly_the_services_with_http_routes(edge, rpcs):
    config = json.loads((edge.directory / "envoy.yaml").read_text())
    http = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    offered = [f["typed_config"]["services"] for f in http["http_filters"] if "transcoder" in f["name"]]
    assert offered == [sorted({rpc.service for rpc in rpcs})]


async def test_path_query_and_body_become_one_message(edge, keys, services):
    body = {"prompt": "a cat", "num_frames": 25, "nested": {"deep": [1, "two", None]}}
    await edge.http.post("/v1/inference/m?wait_seconds=7", json=body, headers=keys.header)
    request = services.last()[2]
    assert (request.slug, request.wait_seconds) == ("m", 7)
    assert dict(request.input)["num_frames"] == 25


async def test_a_branch_takes_its_changes_from_the_body_as_they_stand(edge, keys, services):
    await edge.http.post("/v1/renders/r/branch", json={"prompt": "a dog", "deadline": "x"}, headers=keys.header)
    request = services.last()[2]
    assert (request.render_id, dict(request.input)) == ("r", {"prompt": "a dog", "deadline": "x"})


async def test_a_render_goes_on_without_a_body_or_with_a_step_to_pause_after(edge, keys, services):
    for body, step in (({}, 0), ({"pause_after_step": 7}, 7)):
        await edge.http.post("/v1/renders/r/continue", json=body, headers=keys.header)
        assert services.last()[2].pause_after_step == step
    assert (await edge.http.post("/v1/renders/r/retry", headers=keys.header)).status_code == 200


async def test_json_is_written_with_the_names_of_the_contract_and_with_defaults(edge, keys):
    answer = await edge.http.get("/v1/models", headers=keys.header)
    assert answer.json() == {"models": [], "next_page_token": "", "total_size": 0}


async def test_the_details_of_a_services_error_arrive_as_json(edge, keys):
    answer = await edge.http.get("/v1/renders/missing", headers=keys.header)
    assert reason(answer) == (404, 5, "RENDER_NOT_FOUND")
    assert answer.json()["details"][1]["resource_name"] == "missing"


async def test_headers_of_the_client_reach_the_service(edge, keys, services):
    sent = {"idempotency-key": "k1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    answer = await edge.http.get("/v1/models", headers=keys.header | sent | {"x-request-id": "mine"})
    received = services.last()[1]
    assert received | sent | {"x-request-id": "mine"} == received
    assert answer.headers["x-request-id"] == "mine"


async def test_a_request_without_an_id_gets_one(edge, keys, services):
    answer = await edge.http.get("/v1/models", headers=keys.header)
    assert len(answer.headers["x-request-id"]) == 36
    assert services.last()[1]["x-request-id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nope"),
        ("PUT", "/v1/models"),
        ("OPTIONS", "/v1/models"),
        ("GET", "/v1/inference/m"),
        ("POST", LIST_MODELS),
        ("GET", "/grpc.health.v1.Health/Check"),
    ],
)
async def test_unknown_paths_and_verbs_are_not_found(method, path, edge, keys):
    answer = await edge.http.request(method, path, headers=keys.header)
    assert reason(answer) == (404, 5, "ROUTE_NOT_FOUND")
    assert answer.json()["message"].endswith(f"{method} {path}")


@pytest.mark.parametrize("query", ["nope=1", "page_size=many", "page_size=99999999999"])
async def test_a_query_that_does_not_fit_is_refused(query, edge, keys):
    answer = await edge.http.get(f"/v1/models?{query}", headers=keys.header)
    assert reason(answer) == (400, 3, "MALFORMED_REQUEST")


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"a": }', b"\xff", b'{"a": "\\ud800"}', b'{"a": 1} {"b": 2}'])
async def test_a_body_that_is_no_json_object_is_refused(body, edge, keys):
    answer = await edge.http.post("/v1/inference/m", content=body, headers=keys.header)
    assert reason(answer) == (400, 3, "MALFORMED_REQUEST")


async def test_a_body_nested_too_deeply_is_refused(edge, keys):
    body = b'{"a":' * 200 + b"1" + b"}" * 200
    answer = await edge.http.post("/v1/inference/m", content=body, headers=keys.header)
    assert reason(answer) == (400, 3, "MALFORMED_REQUEST")


@pytest.mark.parametrize("size", [16 * MIB + 1, 27 * MIB])
async def test_a_body_over_16_mib_is_refused_and_the_client_hears_of_it(size, edge, keys):
    answer = await edge.http.post("/v1/inference/m", content=b"x" * size, headers=keys.header)
    assert reason(answer) == (413, 8, "BODY_TOO_LARGE")


async def test_a_body_of_unknown_length_is_refused_once_it_is_too_long(edge, keys):
    async def parts():
        for _ in range(18):
            yield b"x" * MIB

    answer = await edge.http.post("/v1/inference/m", content=parts(), headers=keys.header)
    assert reason(answer) == (413, 8, "BODY_TOO_LARGE")


async def test_a_body_of_16_mib_passes(edge, keys, services):
    body = b'{"image":"' + b"A" * (16 * MIB - 12) + b'"}'
    answer = await edge.http.post("/v1/inference/m", content=body, headers=keys.header)
    assert answer.status_code == 200
    assert len(services.calls.pop()[2].input["image"]) == 16 * MIB - 12


async def test_a_small_body_that_becomes_a_huge_message_is_refused(edge, keys):
    body = b'{"a":[' + b"1," * (4 * MIB) + b"1]}"
    answer = await edge.http.post("/v1/inference/m", content=body, headers=keys.header)
    assert reason(answer) == (413, 8, "BODY_TOO_LARGE")


async def test_a_native_message_over_16_mib_is_refused(edge, keys):
    request = catalog_service_pb2.ListModelsRequest(query="x" * (17 * MIB))
    with pytest.raises(aio.AioRpcError) as refusal:
        await edge.grpc.unary_unary(LIST_MODELS)(request.SerializeToString(), metadata=keys.metadata)
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "16 MiB" in (refusal.value.details() or "")


@pytest.mark.parametrize("timeout", ["", "x", "-1S", "1", "1X", "123456789S", "1S, 1S"])
async def test_a_malformed_grpc_timeout_is_refused(timeout, edge, keys):
    header = keys.header | {"grpc-timeout": timeout}
    assert reason(await edge.http.get("/v1/models", headers=header)) == (400, 3, "MALFORMED_REQUEST")
    answer = await edge.http.post(LIST_MODELS, headers=header | {"content-type": "application/grpc"}, content=b"\0" * 5)
    assert answer.headers["grpc-status"] == "3"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/models", {"under_score": "1"}, 400),
        ("/v1/models", {f"h-{number}": "1" for number in range(64)}, 431),
        ("/v1/models", {"long": "x" * 70_000}, 431),
        ("/v1/models%2Fm", {}, 400),
        ("/v1/models%5Cm", {}, 400),
        ("/v1/models", {"connection": "upgrade", "upgrade": "websocket"}, 400),
    ],
)
async def test_requests_that_break_a_limit_of_http_are_refused(path, headers, status, edge, keys):
    answer = await edge.http.get(path, headers=keys.header | headers)
    assert reason(answer) == (status, 3, "MALFORMED_REQUEST")


async def test_paths_are_compared_in_one_form_only(edge, keys, services):
    for path in ("/v1//models", "/v1/x/../models", "/v1/./models"):
        assert (await edge.http.get(path)).status_code == 401
        assert (await edge.http.get(path, headers=keys.header)).status_code == 200
        assert services.last()[0] == "forge.catalog.v1.CatalogService.ListModels"


def reflection_over(edge):
    return edge.grpc.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )


async def test_reflection_shows_the_public_contract_to_those_with_a_key(edge, keys):
    reflect = reflection_over(edge)
    wanted = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="forge.scheduler.v1.RenderService"),
    ]
    listed, found = [answer async for answer in reflect(iter(wanted), metadata=keys.metadata)]
    names = {service.name for service in listed.list_services_response.service}
    assert "forge.scheduler.v1.RenderService" in names
    assert not {name for name in names if "worker" in name or "envoy" in name}
    file = FileDescriptorProto.FromString(found.file_descriptor_response.file_descriptor_proto[0])
    assert file.service[0].name == "RenderService"
    assert await reflect().code() is grpc.StatusCode.UNAUTHENTICATED


async def test_reflection_is_a_conversation(edge, keys):
    call = reflection_over(edge)(metadata=keys.metadata)
    for _ in range(2):
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert (await call.read()).list_services_response.service
    await call.done_writing()
