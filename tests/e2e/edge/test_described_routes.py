"""The OpenAPI document and the edge agree: what is described is served, and what is served is described."""

import json
import re
from typing import Any

import pytest
from starlette.routing import Route

from services.web.adapters.contract_files import contract_files
from services.web.adapters.openapi.document import document
from services.web.app import application
from services.web.config import WebSettings
from services.web.site import Site
from services.web.videos.routes import unknown

pytestmark = pytest.mark.asyncio(loop_scope="session")

DESCRIBED = {
    (method.upper(), path)
    for path, item in document()["paths"].items()
    for method in item
    if method in ("get", "head", "post", "put", "patch", "delete")
}


async def test_every_described_route_is_served(edge, keys):
    for method, path in sorted(DESCRIBED):
        body = {} if method == "POST" else None
        answer = await edge.http.request(method, re.sub(r"{\w+}", "an-id", path), json=body, headers=keys.header)
        assert answer.status_code not in (405, 415, 501), (method, path)
        assert not (answer.status_code == 404 and "ROUTE_NOT_FOUND" in answer.text), (method, path)


async def test_every_route_that_the_edge_transcodes_is_described(edge):
    config = json.loads((edge.directory / "envoy.yaml").read_text())
    http = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (offered,) = [f["typed_config"]["services"] for f in http["http_filters"] if "transcoder" in f["name"]]
    described = {service.full_name: service for service in contract_files().services}
    routes = [route for name in offered for method in described[name].methods for route in method.routes]
    assert len(routes) > 40
    assert {(route.method, route.path) for route in routes} <= DESCRIBED


async def test_every_route_of_web_that_is_no_page_is_described():
    nobody: Any = None
    routes = application(Site(nobody, WebSettings(), nobody)).routes
    served = {
        (method, re.sub(r"{(\w+):\w+}", r"{\1}", route.path))
        for route in routes
        if isinstance(route, Route) and route.endpoint is not unknown
        if route.path.startswith(("/v1/", "/links/", "/openapi"))
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert len(served) >= 9
    assert served <= DESCRIBED


async def test_the_document_needs_no_key(edge):
    answer = await edge.http.get("/openapi.json")
    assert answer.status_code == 200
    again = await edge.http.get("/openapi.json", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
