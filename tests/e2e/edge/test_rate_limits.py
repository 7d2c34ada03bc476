"""How often a key may be used, and how its user is told."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from grpc import aio
from grpc_status import rpc_status

from tests.e2e.edge.conftest import Edge, Keys

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODELS = "/forge.catalog.v1.CatalogService/ListModels"
SLOW = {"requests_per_second": 0.01, "burst": 3}
MakeKey = Callable[..., Awaitable[dict[str, str]]]


@pytest.fixture
async def narrow(edge: Edge, keys: Keys) -> MakeKey:
    """Makes a key with a limit of its own and gives the header that shows it."""

    async def make(**limit: float) -> dict[str, str]:
        body = {"name": "narrow", "rate_limit": limit or SLOW}
        made = await edge.http.post("/v1/api-keys", json=body, headers=keys.header)
        return {"authorization": f"Bearer {made.json()['secret']}"}

    return make


def limit_of(headers: Any) -> tuple[str, str, str]:
    """Limit, what remains, and seconds until the burst is whole; "" where a header is not there."""
    found = dict(headers or ())
    limit, remaining, reset = (found.get(f"ratelimit-{name}", "") for name in ("limit", "remaining", "reset"))
    return limit, remaining, reset


async def over_grpc(edge: Edge, header: dict[str, str]) -> aio.UnaryUnaryCall[Any, Any]:
    call = edge.grpc.unary_unary(MODELS)(b"", metadata=tuple(header.items()))
    await call
    return call


async def test_json_and_grpc_alike_are_told_how_the_limit_stands(edge, narrow):
    key = await narrow()
    assert limit_of((await edge.http.get("/v1/models", headers=key)).headers) == ("3", "2", "100")
    call = await over_grpc(edge, key)
    assert limit_of(await call.initial_metadata()) == ("3", "1", "200")
    assert limit_of((await edge.http.get("/v1/nope", headers=key)).headers) == ("3", "0", "300")


async def test_over_the_limit_json_is_429_and_says_when_to_come_back(edge, narrow, services):
    key = await narrow(requests_per_second=0.01, burst=1)
    assert (await edge.http.get("/v1/models", headers=key)).status_code == 200
    calls = len(services.calls)
    answer = await edge.http.get("/v1/models", headers=key)
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/json"
    assert limit_of(answer.headers)[:2] == ("1", "0")
    assert 95 <= int(answer.headers["retry-after"]) <= 100
    body = answer.json()
    assert body["code"] == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert (body["details"][0]["reason"], body["details"][0]["domain"]) == ("RATE_LIMITED", "forge")
    assert 95 <= float(body["details"][1]["retry_delay"].removesuffix("s")) <= 100
    assert len(services.calls) == calls


async def test_over_the_limit_grpc_is_resource_exhausted_with_the_same_details(edge, narrow, services):
    key = await narrow(requests_per_second=0.01, burst=1)
    await over_grpc(edge, key)
    calls = len(services.calls)
    with pytest.raises(aio.AioRpcError) as refusal:
        await over_grpc(edge, key)
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(refusal.value)  # pyright: ignore[reportArgumentType] — AioRpcError has what it reads
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(retry)
    assert info.reason == "RATE_LIMITED"
    assert 95 <= retry.retry_delay.ToTimedelta().total_seconds() <= 100
    told = [*(refusal.value.initial_metadata() or ()), *(refusal.value.trailing_metadata() or ())]
    assert limit_of(told)[:2] == ("1", "0")
    assert len(services.calls) == calls


async def test_a_stream_counts_once_and_is_not_cut(edge, narrow):
    key = await narrow(requests_per_second=0.01, burst=1)
    async with edge.http.stream("GET", "/v1/renders/rnd_1/events", headers=key) as answer:
        assert limit_of(answer.headers)[:2] == ("1", "0")
        assert len([line async for line in answer.aiter_lines()]) == 2
    assert (await edge.http.get("/v1/renders/rnd_1/events", headers=key)).status_code == 429


async def test_a_browser_counts_for_the_key_it_was_let_in_with(edge, narrow):
    key = await narrow(requests_per_second=0.01, burst=2)
    secret = key["authorization"].removeprefix("Bearer ")
    same_origin = {"origin": str(edge.http.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    async with httpx.AsyncClient(base_url=edge.http.base_url) as browser:
        signed_in = await browser.post("/sign-in", data={"key": secret, "next": "/"}, headers=same_origin)
        assert signed_in.status_code == 303
        assert limit_of((await browser.get("/v1/models")).headers)[:2] == ("2", "1")
    assert (await edge.http.get("/v1/models", headers=key)).status_code == 200
    assert (await edge.http.get("/v1/models", headers=key)).status_code == 429


async def test_strangers_are_told_of_no_limit(edge):
    assert limit_of((await edge.http.get("/v1/models")).headers) == ("", "", "")
    assert limit_of((await edge.http.get("/sign-in")).headers) == ("", "", "")


async def test_a_rotated_key_opens_beside_its_successor_and_ends_with_the_overlap(edge, keys):
    made = (await edge.http.post("/v1/api-keys", json={"name": "rotating"}, headers=keys.header)).json()
    path = f"/v1/api-keys/{made['api_key']['id']}/rotate"
    rotated = (await edge.http.post(path, json={"overlap": "3600s"}, headers=keys.header)).json()
    assert rotated["replaced"]["replaced_by"] == rotated["api_key"]["id"]
    old, new = ({"authorization": f"Bearer {one['secret']}"} for one in (made, rotated))
    for key in (old, new):
        assert (await edge.http.get("/v1/account", headers=key)).status_code == 200
    again = await edge.http.post(path, json={}, headers=keys.header)
    assert (again.status_code, again.json()["details"][0]["reason"]) == (409, "API_KEY_ALREADY_ROTATED")
    await edge.http.delete(f"/v1/api-keys/{rotated['api_key']['id']}", headers=keys.header)
    assert (await edge.http.post(path, json={"overlap": "0s"}, headers=keys.header)).status_code == 200
    assert (await edge.http.get("/v1/account", headers=old)).status_code == 401


async def test_a_service_that_asks_for_patience_is_heard_by_plain_http_too(edge, keys):
    answer = await edge.http.get("/v1/renders/too-much", headers=keys.header)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert answer.json()["details"][1]["retry_delay"] == "2.500s"
    assert "retry-after" not in (await edge.http.get("/v1/renders/missing", headers=keys.header)).headers
