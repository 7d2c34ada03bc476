"""What a running platform answers is what its OpenAPI document says."""

import json
import re
from typing import Any

import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from tests.e2e.platform.described import Described
from tests.pictures import a_png

SVD = "stabilityai-stable-video-diffusion"
EVENTS = "/v1/renders/{render_id}/events"
ENDLESS = {"/v1/model-families/{slug}/events"}
"""Streams that go on until the client leaves."""


@pytest.fixture(scope="module")
def described(platform: Any) -> Described:
    with platform.client() as client:
        return Described(client.get("/openapi.json").json())


@pytest.fixture(scope="module")
def names(platform: Any) -> dict[str, str]:
    """Something real for every parameter of a path."""
    with platform.client() as client:
        render = client.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).json()
        link = client.post(f"/v1/renders/{render['id']}/video-links", json={}).json()["url"]
        hook = {"url": "http://127.0.0.1:9/hook", "statuses": ["failed"]}
        webhook = client.post("/v1/webhooks", json=hook).json()["webhook"]
        probe = client.post("/v1/probes", json={"slug": SVD, "gpu_type": "H200", "region": "eu-north2"}).json()
        for made in probe["probes"]:
            client.post(f"/v1/probes/{made['id']}/cancel")
        upload = client.post("/v1/uploads", content=a_png(), headers={"content-type": "image/png"}).json()
        return {
            "slug": SVD,
            "render_id": render["id"],
            "video_id": render["id"],
            "number": "0",
            "token": link.rpartition("/")[2],
            "webhook_id": webhook["id"],
            "probe_id": probe["probes"][0]["id"],
            "upload_id": upload["id"],
        }


def filled(path: str, names: dict[str, str]) -> str:
    """A path with real names; one whose parameters the fixture has nothing for fails."""
    return re.sub(r"{(\w+)}", lambda found: names[found[1]], path)


def test_the_document_is_valid_and_describes_every_model(described, rest):
    OPENAPI_31_VALIDATOR.validate(described.document)
    for model in rest.get("/v1/models").json()["models"]:
        assert f"/v1/inference/{model['slug']}" in described.document["paths"]


def test_every_answer_to_a_get_is_as_described(described, names, rest):
    for path, operation in described.operations("get").items():
        if path in ENDLESS or path == EVENTS:
            continue
        answer = rest.get(filled(path, names))
        assert answer.status_code == 200, (path, answer.text)
        assert described.faults_of(operation, answer) == [], path


def test_what_is_not_there_is_refused_as_described(described, names, rest):
    missing = dict.fromkeys(names, "nothing")
    tried = [path for path in described.operations("get") if "{" in path and "{token}" not in path]
    for path in tried:
        answer = rest.get(filled(path, missing | {"number": "7"}))
        assert answer.status_code == 404, path
        assert described.faults_of(described.operations("get")[path], answer) == [], path
    assert len(tried) >= 20


def test_events_are_as_described_in_lines_and_as_server_sent_events(described, names, rest):
    content = described.operations("get")[EVENTS]["responses"]["200"]["content"]
    lines = rest.get(filled(EVENTS, names))
    assert lines.headers["content-type"] == "application/json"
    events = [json.loads(line) for line in lines.text.splitlines() if line.strip()]
    sent = rest.get(filled(EVENTS, names), headers={"accept": "text/event-stream"})
    assert sent.headers["content-type"].partition(";")[0] == "text/event-stream"
    datas = [json.loads(line.removeprefix("data: ")) for line in sent.text.splitlines() if line.strip()]
    assert datas == events
    for event in events:
        assert described.faults(content["application/json"]["schema"], event) == []


def test_a_changing_call_answers_as_described(described, names, rest, platform):
    bodies = {
        "/v1/renders": platform.small(SVD) | {"request_id": "described"},
        "/v1/renders/{render_id}/cancel": {},
        "/v1/renders/{render_id}/retry": {},
        "/v1/renders/{render_id}/video-links": {"ttl_seconds": 60},
        "/v1/models/{slug}/run-estimate": platform.small(SVD),
        "/v1/probes/{probe_id}/cancel": {},
        "/v1/api-keys": {"name": "described", "ttl": "60s"},
        "/v1/videos": {"model": "nothing"},
        f"/v1/inference/{SVD}": platform.small(SVD) | {"num_frames": 10_000},
    }
    for path, body in bodies.items():
        operation = described.operations("post")[path]
        answer = rest.post(filled(path, names), json=body)
        assert described.faults_of(operation, answer) == [], (path, answer.text)


@pytest.mark.parametrize(("changes", "fits"), [({}, True), ({"width": "wide"}, False), ({"typo": 1}, False)])
def test_a_body_fits_its_description_when_the_platform_takes_it(described, rest, platform, changes, fits):
    body = platform.example(SVD) | changes
    schema = described.document["paths"][f"/v1/inference/{SVD}"]["post"]["requestBody"]["content"]["application/json"]
    assert (described.faults(schema["schema"], body) == []) is fits
    estimate = rest.post(f"/v1/models/{SVD}/run-estimate", json=body)
    assert (estimate.status_code == 200) is fits, estimate.text
