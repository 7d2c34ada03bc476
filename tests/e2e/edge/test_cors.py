"""Pages of other origins: none may call the API unless it was named, and none with a visitor's session."""

import json

import pytest
import pytest_asyncio

from forge_cli.edge_rules import EdgeRules
from tests.wire import exchange

pytestmark = pytest.mark.asyncio(loop_scope="session")

APP, EVIL = "https://app.example", "https://app.example.evil.example"
MODELS = "/v1/models"
ALLOWED, EXPOSED = "access-control-allow-origin", "access-control-expose-headers"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def open_edge(elsewhere, tmp_path_factory, start_edge):
    """An edge that lets pages of one origin call the API."""
    rules = EdgeRules(cors_origins=(APP, "http://localhost:3000"))
    async with start_edge(tmp_path_factory.mktemp("cors"), elsewhere(), rules=rules) as edge:
        await edge.until_healthz(200)
        yield edge


@pytest.mark.parametrize(
    "path", [MODELS, "/v1/renders/a-render/events", "/v1/renders/a-render/video", "/v1/inference/m", "/v1/videos"]
)
async def test_a_preflight_of_a_named_origin_is_answered_without_a_key(path, open_edge, services):
    calls = len(services.calls)
    answer = await open_edge.http.options(path, headers={"origin": APP} | PREFLIGHT)
    assert answer.status_code == 200
    assert answer.headers[ALLOWED] == APP
    assert "DELETE" in answer.headers["access-control-allow-methods"]
    assert {"authorization", "content-type", "idempotency-key"} <= set(
        answer.headers["access-control-allow-headers"].split(", ")
    )
    assert "access-control-allow-credentials" not in answer.headers
    assert len(services.calls) == calls


@pytest.mark.parametrize("origin", [EVIL, "null", "http://app.example", "https://APP.example:8443", "*", ""])
async def test_an_origin_that_was_not_named_hears_nothing(origin, open_edge, keys):
    for headers in ({"origin": origin} | PREFLIGHT, {"origin": origin} | PREFLIGHT | keys.header):
        assert ALLOWED not in (await open_edge.http.options(MODELS, headers=headers)).headers
    answer = await open_edge.http.get(MODELS, headers=keys.header | {"origin": origin})
    assert (answer.status_code, answer.headers.get(ALLOWED)) == (200, None)


async def test_no_origin_is_named_by_itself(edge, keys):
    answer = await edge.http.options(MODELS, headers={"origin": APP} | PREFLIGHT)
    assert (answer.status_code, answer.headers.get(ALLOWED)) == (401, None)
    assert ALLOWED not in (await edge.http.get(MODELS, headers=keys.header | {"origin": APP})).headers


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
async def test_a_page_of_a_named_origin_uses_the_api_as_any_client(accept, open_edge, keys, services):
    theirs = keys.header | {"origin": APP, "accept": accept}
    for method, path in (
        ("GET", MODELS),
        ("POST", "/v1/inference/m"),
        ("GET", "/v1/renders/a-render/events"),
        ("GET", "/v1/renders/a-render/video"),
    ):
        answer = await open_edge.http.request(method, path, headers=theirs, json={} if method == "POST" else None)
        assert (answer.status_code, answer.headers[ALLOWED]) == (200, APP)
        assert {"x-request-id", "ratelimit-remaining", "retry-after"} <= set(answer.headers[EXPOSED].split(", "))
    if accept == "text/event-stream":
        events = await open_edge.http.get("/v1/renders/a-render/events", headers=theirs)
        assert events.headers["content-type"] == "text/event-stream"


async def test_refusals_can_be_read_by_the_page_that_caused_them(open_edge, keys):
    theirs = keys.header | {"origin": APP}
    refused = [
        (401, await open_edge.http.get(MODELS, headers={"origin": APP})),
        (404, await open_edge.http.get("/v1/nothing", headers=theirs)),
        (404, await open_edge.http.get("/v1/renders/missing", headers=theirs)),
        (400, await open_edge.http.post("/v1/inference/m", content=b"{", headers=theirs)),
        (400, await open_edge.http.get(MODELS, headers=theirs | {"grpc-timeout": "x"})),
        (415, await open_edge.http.post("/v1/renders", content=b"x", headers=theirs | {"content-encoding": "gzip"})),
        (413, await open_edge.http.post("/v1/renders", content=b"x" * (16 * 2**20 + 1), headers=theirs)),
    ]
    for status, answer in refused:
        assert (answer.status_code, answer.headers.get_list(ALLOWED)) == (status, [APP]), answer.text


async def test_pages_and_grpc_stay_among_themselves(open_edge, keys):
    for path in ("/", "/models", "/static/forge.css", "/healthz", "/forge.catalog.v1.CatalogService/ListModels"):
        answer = await open_edge.http.get(path, headers=keys.header | {"origin": APP, "accept": "text/html"})
        assert ALLOWED not in answer.headers


async def test_a_session_is_of_no_use_to_a_named_origin(open_edge, keys):
    home = {"origin": str(open_edge.http.base_url).rstrip("/")}
    signed_in = await open_edge.http.post("/sign-in", data={"key": keys.admin}, headers=home)
    open_edge.http.cookies.clear()
    cookie = {"cookie": signed_in.headers["set-cookie"].partition(";")[0], "origin": APP}
    for source in ({}, {"sec-fetch-site": "cross-site"}):
        answer = await open_edge.http.post("/v1/api-keys", json={"name": "x"}, headers=cookie | source)
        assert (answer.status_code, answer.json()["details"][0]["reason"]) == (403, "CROSS_ORIGIN")
    looked = await open_edge.http.get(MODELS, headers=cookie)
    assert "access-control-allow-credentials" not in looked.headers  # so no browser shows the page what it got


async def test_calling_json_grpc_finds_no_service_from_another_origin_either(open_edge, keys, services):
    calls = len(services.calls)
    headers = {"origin": APP, "content-type": "application/grpc"}
    assert (await open_edge.http.post(MODELS, headers=headers)).headers["grpc-status"] == "16"
    assert (await open_edge.http.post(MODELS, headers=headers | keys.header)).headers["grpc-status"] == "12"
    assert len(services.calls) == calls


async def test_two_origins_are_none(open_edge, keys):
    address = open_edge.http.base_url.netloc.decode()
    request = (
        f"GET /v1/models HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {keys.admin}\r\n"
        f"Origin: {APP}\r\nOrigin: {EVIL}\r\n\r\n"
    )
    answer = await exchange(address, request.encode())
    assert ALLOWED not in answer.headers
    assert json.loads(answer.body)["models"] == []
