"""Pages behind the edge: who sees them, as whom, and what a browser of another origin cannot do with a session."""

import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = {"accept": "text/html,*/*;q=0.8"}
MODELS = "/v1/models"
NEW_KEY = "/v1/api-keys"


@pytest_asyncio.fixture(loop_scope="session")
async def cookie(edge, keys):
    """The cookie of a browser whose owner has signed in."""
    home = {"origin": str(edge.http.base_url).rstrip("/")}
    answer = await edge.http.post("/sign-in", data={"key": keys.admin}, headers=home)
    assert answer.status_code == 303
    edge.http.cookies.clear()
    return {"cookie": answer.headers["set-cookie"].partition(";")[0]}


async def test_the_first_page_needs_no_key(edge):
    answer = await edge.http.get("/", headers=PAGE)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")


async def test_static_files_need_no_key_and_reach_no_service(edge, services):
    services.calls.clear()
    assert (await edge.http.get("/static/forge.css")).status_code == 200
    assert services.calls == []


async def test_a_mistyped_address_is_a_page_for_browsers_and_an_error_for_programs(edge, keys):
    page = await edge.http.get("/mistyped", headers=PAGE)
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    error = await edge.http.get("/mistyped", headers=keys.header)
    assert (error.status_code, error.json()["code"]) == (404, 5)
    assert (await edge.http.get("/v1/mistyped", headers=PAGE | keys.header)).headers[
        "content-type"
    ] == "application/json"


async def test_a_session_is_as_good_as_its_key(edge, cookie, services):
    assert (await edge.http.get(MODELS, headers=cookie)).status_code == 200
    assert services.last()[1]["x-forge-account"] == "default"


@pytest.mark.parametrize("secret", ["forge_session=x", "forge_session=", "other=x"])
async def test_a_cookie_that_is_no_session_opens_nothing(secret, edge):
    assert (await edge.http.get(MODELS, headers={"cookie": secret})).status_code == 401


@pytest.mark.parametrize(
    "source",
    [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://elsewhere.example"}, {}],
)
async def test_a_session_changes_nothing_for_a_page_of_another_origin(source, edge, cookie):
    for path in (NEW_KEY, "/sign-out", "/v1/renders/a-render/cancel", "/v1/videos"):
        answer = await edge.http.post(path, json={}, headers=cookie | source)
        assert (answer.status_code, answer.json()["details"][0]["reason"]) == (403, "CROSS_ORIGIN")
    assert (await edge.http.get(MODELS, headers=cookie | source)).status_code == 200


async def test_a_session_changes_things_for_its_own_pages(edge, cookie):
    made = await edge.http.post(NEW_KEY, json={"name": "mine"}, headers=cookie | {"sec-fetch-site": "same-origin"})
    assert made.status_code == 200


async def test_nobody_signs_a_visitor_in_from_elsewhere(edge, keys):
    answer = await edge.http.post("/sign-in", data={"key": keys.admin}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


async def test_the_cookie_reaches_no_service(edge, cookie, services):
    await edge.http.get(MODELS, headers=cookie)
    assert cookie["cookie"] not in str(services.last())


async def test_a_forged_identity_is_nobodys_on_pages_too(edge, services):
    await edge.http.get("/", headers=PAGE | {"x-forge-account": "default", "x-forge-scopes": "admin"})
    assert {call[1]["x-forge-account"] for call in services.calls[-1:]} == {"visitor"}
