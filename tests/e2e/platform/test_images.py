"""Images as they come in over REST, from being sent to the video that is made of them."""

import psutil
import pytest

from tests.pictures import a_png
from tests.platforms import SVD


def test_a_render_is_made_of_an_upload_that_is_gone_by_then(platform, rest):
    sent = rest.post("/v1/uploads", content=a_png(), headers={"content-type": "image/png"}).json()
    formed = rest.post("/v1/uploads", files={"file": ("cat.png", a_png(), "image/png")}).json()
    assert (sent["width"], sent["sha256"]) == (64, formed["sha256"])
    assert {one["id"] for one in rest.get("/v1/uploads").json()["uploads"]} >= {sent["id"], formed["id"]}
    body = platform.small(SVD) | {"image": sent["uri"]}
    created = rest.post("/v1/renders", json=body).json()
    for upload in (sent, formed):
        assert rest.delete(f"/v1/uploads/{upload['id']}").status_code == 200
        assert rest.get(f"/v1/uploads/{upload['id']}").json()["details"][0]["reason"] == "UPLOAD_NOT_FOUND"
    again = rest.post("/v1/renders", json=body)
    assert (again.status_code, again.json()["details"][1]["field_violations"][0]["field"]) == (400, "image")
    platform_says = f"/v1/renders/{created['id']}"
    with platform.client() as client, client.stream("GET", f"{platform_says}/events") as events:
        events.read()
    assert rest.get(platform_says).json()["status"] == "succeeded"


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (a_png((16384, 16384), "1"), "must have at most 8192 px a side"),
        (a_png()[:60], "is damaged or incomplete"),
        (b"\x89PNG\r\n\x1a\n", "is not a readable image/png"),
    ],
    ids=["a bomb", "cut short", "a signature"],
)
def test_an_image_that_harms_its_decoder_is_refused_at_once_and_nothing_else_happens(platform, rest, image, says):
    services = {process.pid: process.memory_info().rss for process in platform.processes("services.scheduler")}
    answer = rest.post("/v1/uploads", content=image, headers={"content-type": "image/png"})
    assert answer.status_code == 400
    assert says in answer.json()["details"][1]["field_violations"][0]["description"]
    for pid, before in services.items():
        assert psutil.Process(pid).memory_info().rss - before < 64 * 2**20


def test_an_address_in_place_of_an_image_is_told_what_to_do_instead(platform, rest):
    answer = rest.post("/v1/renders", json=platform.small(SVD) | {"image": "https://a.example/cat.png"})
    assert answer.status_code == 400
    (violation,) = answer.json()["details"][1]["field_violations"]
    assert violation["field"] == "image"
    assert "Send the file to /v1/uploads" in violation["description"]
