"""Who passes the edge, and as whom."""

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODELS = "/forge.catalog.v1.CatalogService/ListModels"
FORGED = {
    "x-forge-account": "somebody-else",
    "X-Forge-Key-Id": "key_of_somebody_else",
    "x-forge-scopes": "admin,root",
    "x-forge-anything": "1",
    "x-envoy-original-path": "/somewhere/else",
}


@pytest.mark.parametrize("kind", ["none", "wrong", "revoked", "broken"])
async def test_no_method_opens_without_a_key_that_works(kind, rpc, edge, keys, services):
    key = getattr(keys, kind, None)
    calls = len(services.calls)
    answer = await rpc.over_http(edge.http, key)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["code"] == grpc.StatusCode.UNAUTHENTICATED.value[0]
    assert answer.json()["details"][0] == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "UNAUTHENTICATED",
        "domain": "forge",
    }
    with pytest.raises(aio.AioRpcError) as refusal:
        await rpc.over_grpc(edge.grpc, key)
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "Authorization: Bearer" in (refusal.value.details() or "")
    assert len(services.calls) == calls


async def test_a_native_refusal_says_why_to_programs_too(edge):
    with pytest.raises(aio.AioRpcError) as refusal:
        await edge.grpc.unary_unary(MODELS)(b"")
    status = rpc_status.from_call(refusal.value)  # pyright: ignore[reportArgumentType] — AioRpcError has what it reads
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("UNAUTHENTICATED", "forge")


@pytest.mark.parametrize("header", ["", "Bearer", "Basic {0}", "{0}", "Bearer {0} {0}", "Bearer {0},{0}"])
async def test_only_one_bearer_key_is_read(header, edge, keys):
    answer = await edge.http.get("/v1/account", headers={"authorization": header.format(keys.admin)})
    assert answer.status_code == 401


async def test_two_authorization_headers_open_nothing(edge, keys):
    headers = [("authorization", f"Bearer {keys.admin}"), ("authorization", f"Bearer {keys.admin}")]
    assert (await edge.http.get("/v1/account", headers=headers)).status_code == 401


@pytest.mark.parametrize("path", ["/nope", "/v1", "/v1/models/a/b/c", "/forge.catalog.v1.CatalogService/Nope"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "HEAD"])
async def test_unknown_paths_need_a_key_too(method, path, edge):
    assert (await edge.http.request(method, path)).status_code == 401


@pytest.mark.parametrize("service", ["forge.worker.v1.WorkerService", "envoy.service.auth.v3.Authorization"])
async def test_inner_services_look_like_unknown_paths(service, edge, keys):
    for metadata, code in ((None, grpc.StatusCode.UNAUTHENTICATED), (keys.metadata, grpc.StatusCode.UNIMPLEMENTED)):
        with pytest.raises(aio.AioRpcError) as refusal:
            await edge.grpc.unary_unary(f"/{service}/Check")(b"", metadata=metadata)
        assert refusal.value.code() is code
    assert (await edge.http.post(f"/{service}/Check", headers=keys.header, json={})).status_code == 404


async def test_identity_comes_from_the_key_alone(edge, keys, services):
    account = (await edge.http.get("/v1/account", headers=keys.header)).json()
    await edge.http.get("/v1/models", headers=FORGED | keys.header)
    over_http = services.last()[1]
    metadata = [(name.lower(), value) for name, value in FORGED.items()]
    await edge.grpc.unary_unary(MODELS)(b"", metadata=(*metadata, *keys.metadata))
    over_grpc = services.last()[1]
    for received in (over_http, over_grpc):
        assert {name: value for name, value in received.items() if name.startswith("x-forge-")} == {
            "x-forge-account": account["account"],
            "x-forge-key-id": account["api_key_id"],
            "x-forge-scopes": ",".join(account["scopes"]),
        }
        assert "/somewhere/else" not in received.values()


async def test_forged_identity_without_a_key_is_refused(edge):
    assert (await edge.http.get("/v1/models", headers=FORGED)).status_code == 401


async def test_no_service_sees_the_key(edge, keys, services):
    await edge.http.get("/v1/models", headers=keys.header)
    assert keys.admin not in str(services.last())
    await edge.grpc.unary_unary(MODELS)(b"", metadata=keys.metadata)
    assert keys.admin not in str(services.last())


async def test_a_key_stops_working_when_it_is_revoked(edge, keys):
    made = (await edge.http.post("/v1/api-keys", json={"name": "short life"}, headers=keys.header)).json()
    header = {"authorization": f"Bearer {made['secret']}"}
    assert (await edge.http.get("/v1/account", headers=header)).json()["scopes"] == ["inference", "read"]
    await edge.http.delete(f"/v1/api-keys/{made['api_key']['id']}", headers=keys.header)
    assert (await edge.http.get("/v1/account", headers=header)).status_code == 401


async def test_a_key_opens_only_what_its_scopes_allow(rpc, edge, keys):
    allowed = rpc.scope == "read"
    over_http = await rpc.over_http(edge.http, keys.reader)
    assert (over_http.status_code != 403) is allowed
    try:
        await rpc.over_grpc(edge.grpc, keys.reader)
        code = grpc.StatusCode.OK
    except aio.AioRpcError as refusal:
        code = refusal.code()
    assert (code is not grpc.StatusCode.PERMISSION_DENIED) is allowed


async def test_health_is_open_without_a_key(edge):
    assert (await edge.http.get("/healthz")).status_code == 200
    check = edge.grpc.unary_unary(
        "/grpc.health.v1.Health/Check", response_deserializer=health_pb2.HealthCheckResponse.FromString
    )
    assert (await check(b"")).status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("path", ["/v1/models", "/v1/renders/a-render/events", "/healthz2", "/grpc.health.v1.Health/X"])
async def test_calling_json_grpc_does_not_slip_past_the_check(path, edge, keys, services):
    calls = len(services.calls)
    for headers, code in (({}, "16"), (keys.header, "12")):
        answer = await edge.http.post(path, headers=headers | {"content-type": "application/grpc"}, content=b"")
        assert answer.headers["grpc-status"] == code
    assert len(services.calls) == calls
